/** What the containers of quantized linears (gptq, compressed-tensors) have in common: some weights become fields, the rest stays. */
import type { TensorHead } from '../checkpoint/safetensors/index.ts';
import { RecipeError } from '../errors.ts';
import { architectureOf, type Role, roleGroups } from '../model/index.ts';
import type { InputScaleType } from '../quantize/activations.ts';
import { type InputScheme, type IntegerScheme, isPlainInteger, type Scheme } from '../quantize/scheme.ts';
import type { TileForm } from '../quantized/form.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { type StorageType, storage, storageBytes } from '../tensor/storage.ts';
import { METADATA_KEY } from './fewbits/descriptor.ts';
import type { Unplaced } from './folder.ts';
import { exactFormOf } from './gguf/to-tile.ts';
import { packingOf } from './packings.ts';
import { leastCommonMultiple, rowMultipleOf } from './row-order.ts';
import { exactScaleType, type InputNames, inputHeads, placedInput } from './static-inputs.ts';
import { tileLabel } from './tile-fields.ts';
import type { LayoutRequest, Model, WeightTensor } from './types.ts';

/** How a container lays out the fields of one weight. */
export interface LinearFields {
  container: string;
  form(scheme: IntegerScheme): TileForm;
  holds(form: TileForm, shape: readonly number[], input?: ActivationScheme): TileForm | string;
  /** The safetensors entry of a field. */
  head(module: string, key: string, form: TileForm, shape: readonly [out: number, input: number]): TensorHead;
  constants?(module: string, form: TileForm, shape: readonly [out: number, input: number]): Unplaced['constants'];
  /** What the bias of a quantized linear becomes, where it does not stay. */
  bias?: StorageType;
  /** Where the levels of a static input go; left out: the container says nothing of inputs. */
  inputNames?(module: string): InputNames;
}

/** A quantized linear. */
export interface Linear {
  /** 'model.layers.0.self_attn.q_proj' */
  module: string;
  role: Role;
  form: TileForm;
  /** Absent where codes are taken over. */
  scheme?: IntegerScheme;
  input?: InputScheme;
}

export interface PlacedLinears {
  tensors: Unplaced[];
  linears: Linear[];
  /** Modules of linears that stay, in the model's order. */
  kept: string[];
  warnings: string[];
}

export function moduleOf(name: string): string {
  return name.replace(/\.weight$/, '');
}

/** @throws RecipeError when nothing is quantized, or something that is no linear */
export function placeLinears(request: LayoutRequest, fields: LinearFields): PlacedLinears {
  const linears = new Map<WeightTensor, Linear>();
  for (const { tensor, scheme } of request.schemes) {
    const linear = linearOf(tensor, scheme, fields);
    if (linear) linears.set(tensor, linear);
  }
  if (linears.size === 0) {
    throw new RecipeError({
      what: `nothing is quantized, and ${fields.container} is for quantized models`,
      where: request.model.name,
      next: `use fewbits quantize MODEL --to ${fields.container}, or --to safetensors`,
    });
  }
  const modules = new Set([...linears.values()].map(({ module }) => module));
  const warnings: string[] = [];
  const tensors = request.schemes.map(({ tensor, scheme }) => {
    const linear = linears.get(tensor);
    if (linear) return placedLinear(tensor, scheme, linear, fields);
    const type = keptType(tensor, scheme, warnings);
    const isBias = tensor.name.endsWith('.bias') && modules.has(tensor.name.slice(0, -'.bias'.length));
    return placedPlain(tensor, isBias ? (fields.bias ?? type) : type);
  });
  const kept = request.schemes.filter(({ tensor }) => isLinear(tensor) && !linears.has(tensor));
  return {
    tensors,
    linears: [...linears.values()],
    kept: kept.map(({ tensor }) => moduleOf(tensor.name)),
    warnings: [...warnings, ...unevenFusions(request.model, [...linears.values()])],
  };
}

function isLinear({ role, name, shape }: WeightTensor): boolean {
  if ((roleGroups.linear as readonly Role[]).includes(role) || role === 'output') return true;
  return role === 'other' && shape.length === 2 && name.endsWith('.weight') && !/embed/i.test(name);
}

function linearOf(tensor: WeightTensor, scheme: Scheme, fields: LinearFields): Linear | undefined {
  const { form, holds, container } = fields;
  const { name, role, shape, stored } = tensor;
  const module = moduleOf(name);
  if (isPlainInteger(scheme)) {
    if (isLinear(tensor) && name.endsWith('.weight') && shape.length === 2)
      return { module, role, form: form(scheme), scheme, ...(scheme.input && { input: scheme.input }) };
    throw new RecipeError({
      what: `${container} holds quantized linears only, and this is none`,
      where: name,
      next: `add --keep '${name}', or use --to fewbits`,
    });
  }
  if (scheme.kind !== 'keep' || !isLinear(tensor)) return undefined;
  const codes = stored.form === 'tile' ? stored.tile : stored.form === 'storage' ? exactFormOf(stored.type) : undefined;
  const held = codes && holds(codes, shape, tensor.input);
  return typeof held === 'object' ? { module, role, form: held, ...(tensor.input && { input: tensor.input }) } : undefined;
}

function placedLinear(tensor: WeightTensor, scheme: Scheme, { form, input }: Linear, fields: LinearFields): Unplaced {
  const { name, role, shape, stored } = tensor;
  const packing = packingOf(form);
  const matrix = [stored.rows, stored.cols] as const;
  const module = moduleOf(name);
  const entries = Object.entries(packing.sizes(form, ...matrix)).map(([key, size]) => ({
    key,
    head: fields.head(module, key, form, matrix),
    ...size,
  }));
  const names = fields.inputNames?.(module);
  const levels = names && input && placedInput(input, headsOf(input, names, stored.cols, form));
  const constants = [...(fields.constants?.(module, form, matrix) ?? []), ...(levels?.constants ?? [])];
  const rowMultiple = leastCommonMultiple(rowMultipleOf(stored), packing.rowMultiple(form));
  const placed = { name, source: name, role, shape, from: stored, scheme, label: tileLabel(form), tile: form, rowMultiple };
  return {
    tensor: placed,
    entries,
    ...(constants.length > 0 && { constants }),
    ...(levels?.input && { input: levels.input }),
  };
}

function headsOf(input: ActivationScheme, names: InputNames, cols: number, form: TileForm) {
  return inputHeads(input, cols, names, exactScaleType(input, form.scale.stored as InputScaleType));
}

function placedPlain({ name, role, shape, stored }: WeightTensor, type: StorageType): Unplaced {
  const scheme = { kind: 'storage' as const, type };
  return {
    tensor: { name, source: name, role, shape, from: stored, scheme, label: type, rowMultiple: rowMultipleOf(stored) },
    entries: [{ key: 'data', head: { name, type, shape }, rowBytes: storageBytes(type, stored.cols) }],
  };
}

/** Tensors that stay do so as floats. */
function keptType({ name, stored, type }: WeightTensor, scheme: Scheme, warnings: string[]): StorageType {
  if (scheme.kind === 'storage') return scheme.type;
  if (stored.form === 'storage' && storage[stored.type].block === 1) return stored.type;
  if (stored.form !== 'values') warnings.push(`${name}: ${type} is widened to f32`);
  return 'f32';
}

/** vLLM loads q, k and v as one linear, and gate and up too: they must be quantized alike. */
function unevenFusions({ spec, tensors }: Model, linears: readonly Linear[]): string[] {
  if (!spec) return [];
  const said = new Map(linears.map(({ module, form, input }) => [module, `${tileLabel(form)}${input ? ', activations' : ''}`]));
  const fused = architectureOf(spec.architecture).fused;
  const layers = new Map<number, WeightTensor[]>();
  for (const tensor of tensors)
    if (tensor.layer !== undefined) layers.set(tensor.layer, [...(layers.get(tensor.layer) ?? []), tensor]);
  const warnings: string[] = [];
  for (const members of layers.values()) {
    for (const roles of fused) {
      const parts = roles.flatMap((role) => members.filter((one) => one.role === role && one.name.endsWith('.weight')));
      const kinds = new Set(parts.map(({ name }) => said.get(moduleOf(name)) ?? 'not quantized'));
      if (kinds.size < 2) continue;
      const [first] = parts;
      warnings.push(
        `${first!.name}: vLLM joins ${roles.join(', ')} of a layer and cannot load them as ${[...kinds].join(' and ')}: give them one scheme`,
      );
    }
  }
  return warnings;
}

/** What made the file, where our own reader looks for it; other readers ignore it. */
export function provenanceMetadata({ provenance }: LayoutRequest): ReadonlyMap<string, string> {
  const document = { version: 1, provenance, tensors: {} };
  return new Map([['format', 'pt'], ...(provenance ? [[METADATA_KEY, JSON.stringify(document)] as const] : [])]);
}
