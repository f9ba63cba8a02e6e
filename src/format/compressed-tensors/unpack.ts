/** Reading of the container compressed-tensors: the configuration says which grids there are, the fields which one a linear has. */
import type { Checkpoint, TensorEntry } from '../../checkpoint/types.ts';
import { ModelError } from '../../errors.ts';
import { read } from '../../io/index.ts';
import type { LevelForm, TileForm } from '../../quantized/form.ts';
import { packingOf } from '../packings.ts';
import { fieldEntry, misfit, parseConfig } from '../quantization-config.ts';
import { withLevels } from '../static-inputs.ts';
import { tileLabel } from '../tile-fields.ts';
import type { Field } from '../types.ts';
import { type JoinedTensors, plainWeight, type Unnamed, weightTensor } from '../weight.ts';
import { configSchema, inputNames, type WeightGroup, weightGroups } from './config.ts';

const PACKED = '.weight_packed';
const SCALE = '.weight_scale';
const scaleTypes = ['f32', 'f16', 'bf16'] as const;

/** @throws FormatError for damaged files, ModelError for formats that are not read */
export async function joinCompressedTensors(checkpoint: Checkpoint, quantization: unknown): Promise<JoinedTensors> {
  const groups = weightGroups(parseConfig(configSchema, quantization, checkpoint.name), checkpoint.name);
  const tensors = new Map<string, Unnamed>();
  const taken = new Set<string>();
  for (const name of checkpoint.tensors.keys()) {
    const module = name.endsWith(PACKED)
      ? name.slice(0, -PACKED.length)
      : name.endsWith(SCALE)
        ? name.slice(0, -SCALE.length)
        : undefined;
    if (module === undefined || tensors.has(`${module}.weight`)) continue;
    const linear = checkpoint.tensors.has(module + PACKED)
      ? await packedLinear(checkpoint, module, groups)
      : await plainLinear(checkpoint, module, groups);
    for (const entry of linear.entries) taken.add(entry.name);
    tensors.set(`${module}.weight`, linear.unnamed);
  }
  for (const entry of checkpoint.tensors.values()) {
    if (taken.has(entry.name)) continue;
    if (tensors.has(entry.name))
      throw misfit(`${checkpoint.name}: ${entry.name}`, 'a weight is stored twice, plain and quantized');
    tensors.set(entry.name, { fileName: entry.name, shape: entry.shape, named: (identity) => plainWeight(entry, identity) });
  }
  return { tensors, warnings: [] };
}

interface JoinedLinear {
  unnamed: Unnamed;
  entries: TensorEntry[];
}

type Shape = readonly [rows: number, cols: number];

async function packedLinear(checkpoint: Checkpoint, module: string, groups: readonly WeightGroup[]): Promise<JoinedLinear> {
  const shapeEntry = fieldEntry(checkpoint, `${module}.weight_shape`, ['i64'], [2]);
  const [rows, cols] = await readShape(shapeEntry);
  const codes = fieldEntry(checkpoint, module + PACKED, ['i32'], [rows, undefined]);
  const words = codes.shape[1]!;
  const zeroName = `${module}.weight_zero_point`;
  const hasZero = checkpoint.tensors.has(zeroName);
  const candidates = groups.flatMap((group) => {
    const packing = group.packed && group.symmetric === !hasZero ? packingFor(group.bits, cols, words) : undefined;
    return packing ? [{ group, packing }] : [];
  });
  const scale = scaleEntry(checkpoint, module, rows);
  const { group, packing } = chosen(checkpoint, module, candidates, [rows, cols], scale);
  const tile = formOf(group, packing, scale.type as LevelForm['stored'], [rows, cols]);
  const sizes = packingOf(tile).sizes(tile, rows, cols);
  const perRow = scale.shape[1] ?? 1;
  const entries: Record<string, TensorEntry> = { codes, scale };
  if (hasZero) {
    entries['zero'] = fieldEntry(checkpoint, zeroName, ['i32'], [undefined, perRow]);
    const { rowBytes, whole } = sizes['zero']!;
    if (entries['zero'].bytes !== (whole ?? rows * rowBytes))
      throw misfit(
        `${checkpoint.name}: ${zeroName}`,
        'zero points do not belong to the rows',
        `${entries['zero'].shape[0]} words for ${rows} rows`,
      );
  }
  if (tile.order) entries['g_idx'] = fieldEntry(checkpoint, `${module}.weight_g_idx`, ['i32'], [cols]);
  return linearOf(checkpoint, module, [rows, cols], tile, group, entries, [shapeEntry]);
}

async function readShape(entry: TensorEntry): Promise<Shape> {
  const view = new DataView((await read(entry.source, entry.offset, 16)).slice().buffer);
  const [rows, cols] = [Number(view.getBigInt64(0, true)), Number(view.getBigInt64(8, true))];
  if (rows > 0 && cols > 0 && rows * cols <= Number.MAX_SAFE_INTEGER) return [rows, cols];
  throw misfit(`${entry.source.name}: ${entry.name}`, 'not the shape of a matrix', `[${rows}, ${cols}]`);
}

/** Versions before 2026 put floor(32 / bits) codes into a word. */
function packingFor(bits: number, cols: number, words: number): TileForm['packing'] | undefined {
  if (words === Math.ceil((cols * bits) / 32)) return 'compressed-tensors';
  return words === Math.ceil(cols / Math.floor(32 / bits)) ? 'compressed-tensors-words' : undefined;
}

async function plainLinear(checkpoint: Checkpoint, module: string, groups: readonly WeightGroup[]): Promise<JoinedLinear> {
  const codes = fieldEntry(checkpoint, `${module}.weight`, ['i8'], [undefined, undefined]);
  const [rows, cols] = codes.shape as [number, number];
  const scale = scaleEntry(checkpoint, module, rows);
  const zeroName = `${module}.weight_zero_point`;
  const hasZero = checkpoint.tensors.has(zeroName);
  const candidates = groups.flatMap((group) =>
    !group.packed && group.bits === 8 && group.symmetric === !hasZero ? [{ group, packing: 'int8' as const }] : [],
  );
  const { group, packing } = chosen(checkpoint, module, candidates, [rows, cols], scale);
  const tile = formOf(group, packing, scale.type as LevelForm['stored'], [rows, cols]);
  const zero = hasZero ? { zero: fieldEntry(checkpoint, zeroName, ['i8'], scale.shape) } : {};
  return linearOf(checkpoint, module, [rows, cols], tile, group, { codes, scale, ...zero }, []);
}

/** [rows, groups], or [1] for one scale a tensor. */
function scaleEntry(checkpoint: Checkpoint, module: string, rows: number): TensorEntry {
  const name = module + SCALE;
  const single = checkpoint.tensors.get(name)?.shape.length === 1;
  return fieldEntry(checkpoint, name, scaleTypes, single ? [1] : [rows, undefined]);
}

/** The group of the configuration whose sharing the scales have. */
function chosen<T extends { group: WeightGroup }>(
  checkpoint: Checkpoint,
  module: string,
  candidates: readonly T[],
  [, cols]: Shape,
  scale: TensorEntry,
): T {
  const perRow = scale.shape[1] ?? 0;
  const fits = ({ group }: T) =>
    group.wholeTensor ? scale.shape.length === 1 : group.group ? perRow * group.group === cols : perRow === 1;
  const [first, ...others] = candidates.filter(fits);
  const where = `${checkpoint.name}: ${module}`;
  if (!first) throw misfit(where, 'the fields of a linear fit no group of the configuration', `weight_scale [${scale.shape}]`);
  if (others.some((other) => JSON.stringify(other.group.input) !== JSON.stringify(first.group.input))) {
    throw new ModelError({ what: 'two groups of the configuration fit this linear, with different activations', where });
  }
  return first;
}

function formOf(group: WeightGroup, packing: TileForm['packing'], stored: LevelForm['stored'], [, cols]: Shape): TileForm {
  const { bits, symmetric, wholeTensor, order } = group;
  const per = { group: group.group === cols ? 0 : group.group, ...(wholeTensor && { wholeTensor }) };
  return {
    ...(packing && { packing }),
    ...(order && per.group > 0 && { order }),
    grid: { kind: 'integer', bits, signed: true },
    scale: { stored, ...per },
    ...(!symmetric && { zero: { kind: 'integer' as const, stored: { bits }, ...per } }),
  };
}

async function linearOf(
  checkpoint: Checkpoint,
  module: string,
  [rows, cols]: Shape,
  tile: TileForm,
  group: WeightGroup,
  entries: Record<string, TensorEntry>,
  others: TensorEntry[],
): Promise<JoinedLinear> {
  const input = group.input && (await withLevels(checkpoint, group.input, cols, inputNames(module)));
  const sizes = packingOf(tile).sizes(tile, rows, cols);
  const fields: Record<string, Field> = {};
  let bytes = 0;
  for (const [key, entry] of Object.entries(entries)) {
    fields[key] = { handle: entry.source.handle, offset: entry.offset, ...sizes[key]! };
    bytes += entry.bytes;
  }
  const stored = { rows, cols, form: 'tile' as const, tile, fields };
  const held = { stored, type: tileLabel(tile), bytes, ...(input && { input: input.input }) };
  const fileName = `${module}.weight`;
  const unnamed: Unnamed = {
    fileName,
    shape: [rows, cols],
    named: (identity) => weightTensor(fileName, [rows, cols], identity, held),
  };
  return { unnamed, entries: [...Object.values(entries), ...others, ...(input?.entries ?? [])] };
}
