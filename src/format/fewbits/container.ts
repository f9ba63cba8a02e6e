/**
 * The container `fewbits`: a quantized model field by field in safetensors, so that every recipe can be stored, read and
 * evaluated. docs/formats.md describes the bytes.
 */
import type { JsonObject } from '../../checkpoint/types.ts';
import { schemeForm } from '../../quantize/kinds/encode.ts';
import { isWeightScheme, type Scheme } from '../../quantize/scheme.ts';
import type { TileForm } from '../../quantized/form.ts';
import { type StorageType, storage, storageBytes } from '../../tensor/storage.ts';
import { everything } from '../capabilities.ts';
import { type FieldSize, fieldBytes } from '../field-ranges.ts';
import { layoutFolder, type Unplaced } from '../folder.ts';
import { packTile } from '../packings.ts';
import { rowMultipleOf } from '../row-order.ts';
import { inputHeads, placedInput, statedInput } from '../static-inputs.ts';
import { fieldSizes, fieldType, tileLabel } from '../tile-fields.ts';
import type { Container, LayoutRequest, WeightTensor } from '../types.ts';
import { type Described, METADATA_KEY } from './descriptor.ts';
import { inputNames } from './fields.ts';

export const fewbits: Container = {
  name: 'fewbits',
  groupIndex: true,
  statesRunTime: true,
  output: 'either',
  extensions: ['.safetensors'],
  convention:
    'symmetric: absmax-half, s = absmax / (2^(b-1) - 1/2), codes -2^(b-1) .. 2^(b-1) - 1; asymmetric: minmax; scales f16',
  says: everything,
  refuses: () => undefined,
  async layout(request) {
    const described = new Map<string, Described>();
    const tensors = request.schemes.map(({ tensor, scheme }) => describe(tensor, scheme, described));
    return layoutFolder(request, {
      tensors,
      metadata: (names) => metadata(request, new Map([...described].filter(([name]) => names.has(name)))),
      // The configuration describes the tensors of all shards, so that a folder is understood without opening each header.
      config: { quantization_config: { quant_method: 'fewbits', ...documentOf(request, described) } },
      files: [{ name: 'recipe.json', text: JSON.stringify(request.recipe, null, 2) }],
    });
  },
  pack: packTile,
  runtimes: () => ['fewbits'],
};

function describe(tensor: WeightTensor, scheme: Scheme, described: Map<string, Described>): Unplaced {
  const { name, shape, stored } = tensor;
  const { rows, cols } = stored;
  const common = { name, source: name, role: tensor.role, shape, from: stored, rowMultiple: rowMultipleOf(stored) };
  const tile = isWeightScheme(scheme) ? schemeForm(scheme, cols) : keptTile(tensor, scheme);
  if (tile) {
    const input = isWeightScheme(scheme) ? scheme.input : tensor.input;
    described.set(name, { shape: [...shape], form: 'tile', tile, ...(input && { input: statedInput(input) }) });
    const levels = placedInput(input, inputHeads(input, cols, inputNames(name), 'f32'));
    const sizes = fieldSizes(tile, cols);
    const entries = Object.entries(sizes).map(([key, size]) => ({
      key,
      head: fieldHead(`${name}.${key}`, key, tile, rows, size),
      ...size,
    }));
    return { tensor: { ...common, scheme, label: tileLabel(tile), tile }, entries, ...levels };
  }
  const type = scheme.kind === 'storage' ? scheme.type : keptType(tensor);
  const kept: Scheme = scheme.kind === 'storage' ? scheme : { kind: 'storage', type };
  const rowBytes = storageBytes(type, cols);
  const one = { ...common, scheme: kept, label: type };
  if (storage[type].block === 1) return { tensor: one, entries: [{ key: 'data', head: { name, type, shape }, rowBytes }] };
  described.set(name, { shape: [...shape], form: 'blocks', type });
  const head = { name: `${name}.blocks`, type: 'u8' as const, shape: [rows, rowBytes] };
  return { tensor: one, entries: [{ key: 'data', head, rowBytes }] };
}

/** A quantized tensor that stays keeps its codes and levels, in rows of their own. */
function keptTile({ stored }: WeightTensor, scheme: Scheme): TileForm | undefined {
  if (scheme.kind !== 'keep' || stored.form !== 'tile') return undefined;
  const { packing: _, ...form } = stored.tile;
  return form;
}

/** What a tensor that stays is stored as; one that is quantized in another container's way is widened. */
export function keptType(tensor: WeightTensor): StorageType {
  const { stored } = tensor;
  return stored.form === 'storage' ? stored.type : 'f32';
}

function fieldHead(name: string, key: string, tile: TileForm, rows: number, size: FieldSize) {
  const type = fieldType(tile, key);
  const lines = size.whole === undefined && !size.quota ? rows : 1;
  return { name, type, shape: [lines, fieldBytes(size, rows) / lines / storage[type].bytes] };
}

function documentOf(request: LayoutRequest, described: ReadonlyMap<string, Described>): JsonObject {
  const { model } = request;
  const document = {
    version: 1,
    ...(request.provenance && { provenance: request.provenance }),
    ...(model.online?.length && { online: model.online }),
    ...(model.kv && { kv: model.kv }),
    tensors: Object.fromEntries(described),
  };
  return document as unknown as JsonObject;
}

function metadata(request: LayoutRequest, described: ReadonlyMap<string, Described>): ReadonlyMap<string, string> {
  return new Map([
    ['format', 'pt'],
    [METADATA_KEY, JSON.stringify(documentOf(request, described))],
  ]);
}
