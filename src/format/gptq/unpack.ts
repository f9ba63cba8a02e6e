/** Reading of the container GPTQ: shapes say bits and groups of each linear, the configuration and the bytes what zeros mean. */
import type { Checkpoint, TensorEntry } from '../../checkpoint/types.ts';
import { ModelError } from '../../errors.ts';
import { read } from '../../io/index.ts';
import type { TileForm } from '../../quantized/form.ts';
import { unpackRows } from '../code-rows.ts';
import { isSequential, readGroupIndex } from '../group-index.ts';
import { packingOf } from '../packings.ts';
import { fieldEntry, misfit, parseConfig } from '../quantization-config.ts';
import { rowsOfWords, tileLabel } from '../tile-fields.ts';
import type { Field } from '../types.ts';
import { type JoinedTensors, plainWeight, type Unnamed, weightTensor } from '../weight.ts';
import { configSchema, type GptqConfig, gptqBits } from './config.ts';

const QWEIGHT = '.qweight';
/** Bytes of zero points that are looked at. */
const SAMPLE_BYTES = 2 ** 16;

/**
 * @param quantization the block of config.json, or quantize_config.json of older tools
 * @throws FormatError for damaged files, ModelError for layouts that only one kernel has
 */
export async function joinGptq(checkpoint: Checkpoint, quantization: unknown): Promise<JoinedTensors> {
  const config = parseConfig(configSchema, quantization, checkpoint.name);
  refuseForeign(config, checkpoint.name);
  const parts = [...checkpoint.tensors.keys()]
    .filter((name) => name.endsWith(QWEIGHT))
    .map((name) => partsOf(checkpoint, name, config));
  const convention = await conventionOf(parts, config);
  const tensors = new Map<string, Unnamed>();
  const taken = new Set<string>();
  for (const part of parts) {
    for (const entry of Object.values(part.entries)) taken.add(entry.name);
    tensors.set(`${part.module}.weight`, joined(part, convention.of(part)));
  }
  for (const entry of checkpoint.tensors.values()) {
    if (taken.has(entry.name)) continue;
    if (tensors.has(entry.name))
      throw misfit(`${checkpoint.name}: ${entry.name}`, 'a weight is stored twice, plain and quantized');
    tensors.set(entry.name, {
      fileName: entry.name,
      shape: entry.shape,
      named: (identity) => plainWeight(entry, identity),
    });
  }
  return { tensors, warnings: convention.warnings };
}

function refuseForeign({ bits, checkpoint_format, format, pack_dtype }: GptqConfig, where: string): void {
  const layout = checkpoint_format ?? format ?? 'gptq';
  const next = 'save the model again as GPTQ with checkpoint_format gptq';
  if (layout !== 'gptq' && layout !== 'gptq_v2')
    throw new ModelError({ what: 'a GPTQ layout of one kernel is not read', where, value: layout, limit: 'gptq, gptq_v2', next });
  if (pack_dtype !== 'int32')
    throw new ModelError({ what: 'GPTQ packed into other words', where, value: pack_dtype, limit: 'int32', next });
  if (!gptqBits.includes(bits))
    throw new ModelError({ what: `GPTQ of ${bits} bits is not read`, where, limit: gptqBits.join(', ') });
}

interface Parts {
  module: string;
  bits: number;
  rows: number;
  cols: number;
  /** Columns of a group. */
  group: number;
  entries: Record<'codes' | 'scale' | 'zero', TensorEntry> & { g_idx?: TensorEntry };
}

function partsOf(checkpoint: Checkpoint, name: string, config: GptqConfig): Parts {
  const module = name.slice(0, -QWEIGHT.length);
  const where = `${checkpoint.name}: ${module}`;
  const codes = fieldEntry(checkpoint, name, ['i32'], [undefined, undefined]);
  const [words, rows] = codes.shape as [number, number];
  const zero = fieldEntry(checkpoint, `${module}.qzeros`, ['i32'], [undefined, undefined]);
  const [groups, zeroWords] = zero.shape as [number, number];
  const bits = (zeroWords * 32) / rows;
  if (!gptqBits.includes(bits))
    throw misfit(
      where,
      'qweight and qzeros give no number of bits',
      `${zeroWords} words for ${rows} outputs`,
      gptqBits.join(', '),
    );
  const cols = (words * 32) / bits;
  const group = cols / groups;
  if (words === 0 || cols % rowsOfWords(bits) !== 0 || !Number.isInteger(group) || group < 1)
    throw misfit(where, 'inputs do not divide into groups', `${cols} inputs, ${groups} groups`);
  const wanted = config.group_size === -1 ? cols : config.group_size;
  if (!config.dynamic && (bits !== config.bits || group !== wanted))
    throw misfit(
      where,
      'the shapes differ from the configuration',
      `${bits} bits in groups of ${group}`,
      `${config.bits} bits in groups of ${wanted}`,
    );
  const scale = fieldEntry(checkpoint, `${module}.scales`, ['f16'], [groups, rows]);
  const index = `${module}.g_idx`;
  const g_idx =
    checkpoint.tensors.has(index) || (config.desc_act && !config.dynamic)
      ? fieldEntry(checkpoint, index, ['i32'], [cols])
      : undefined;
  return { module, bits, rows, cols, group, entries: { codes, scale, zero, ...(g_idx && { g_idx }) } };
}

/** What the bytes say of a linear. */
interface Found {
  packing: 'gptq' | 'gptq_v2';
  /** All zero points are in the middle and need not be kept. */
  middle: boolean;
  /** Columns are in activation order. */
  order: boolean;
}

/**
 * What stored zero points mean. Symmetric models hold one value everywhere, which tells the version, whatever the configuration says:
 * a model with the wrong flag loads everywhere and answers nonsense. The first linear stands for all, unless they differ.
 */
async function conventionOf(
  parts: readonly Parts[],
  config: GptqConfig,
): Promise<{ of(part: Parts): Found; warnings: string[] }> {
  const said = config.checkpoint_format ?? config.format;
  const named = said === 'gptq_v2' ? 'gptq_v2' : 'gptq';
  const warnings: string[] = [];
  const found = new Map<Parts, Found>();
  for (const part of config.dynamic ? parts : parts.slice(0, 1)) found.set(part, await lookInto(part, config, named));
  const [first] = found.values();
  const unlike = [...found.values()].find(({ middle, packing }) => middle && packing !== named);
  if (said === undefined) {
    const evidence = first?.middle ? 'which the stored zero points confirm' : 'stored minus one';
    warnings.push(
      `no checkpoint_format in the configuration: zero points are read as of format ${unlike?.packing ?? named}, ${evidence}`,
    );
  } else if (unlike) {
    warnings.push(`checkpoint_format is ${said}, but the stored zero points are of format ${unlike.packing}, which is followed`);
  }
  if (config.sym && !config.dynamic && first && !first.middle)
    warnings.push('sym is true, but zero points are not in the middle: they are read as they are');
  return { of: (part) => found.get(part) ?? first!, warnings };
}

async function lookInto(part: Parts, config: GptqConfig, named: Found['packing']): Promise<Found> {
  const { bits, entries } = part;
  const stored = config.sym || config.dynamic ? await onlyZero(part) : undefined;
  const middle = 2 ** (bits - 1);
  const version = stored === middle - 1 ? 'gptq' : stored === middle ? 'gptq_v2' : undefined;
  const index = config.dynamic && entries.g_idx;
  const order = index ? await hasOrder(index, part) : config.desc_act;
  // An asymmetric linear may have one value by chance: then only the configuration tells what it means.
  if (version === undefined || (!config.sym && version !== named)) return { packing: named, middle: false, order };
  return { packing: version, middle: true, order };
}

/** A file that is still being written holds zeros where nothing is yet: whoever reads such a linear is told then. */
async function hasOrder({ source, offset, bytes }: TensorEntry, { cols, group, module }: Parts): Promise<boolean> {
  const index = await read(source, offset, bytes);
  return index.some((byte) => byte !== 0) && !isSequential(readGroupIndex(index, cols, group, module), group);
}

/** The one value of the stored zero points (of the first of them), if they are equal. */
async function onlyZero({ bits, rows, entries: { zero } }: Parts): Promise<number | undefined> {
  const lineBytes = (rows * bits) / 8;
  const lines = Math.min(zero.shape[0]!, Math.max(1, Math.floor(SAMPLE_BYTES / lineBytes)));
  const codes = unpackRows(await read(zero.source, zero.offset, lines * lineBytes), lines, rows, bits);
  return codes.every((code) => code === codes[0]) ? codes[0] : undefined;
}

function joined({ module, bits, rows, cols, group, entries }: Parts, { packing, middle, order }: Found): Unnamed {
  const per = { group: group === cols ? 0 : group };
  const tile: TileForm = {
    packing,
    ...(order && per.group > 0 && { order }),
    grid: { kind: 'integer', bits, signed: middle },
    scale: { stored: 'f16', ...per },
    ...(!middle && { zero: { kind: 'integer' as const, stored: { bits }, ...per } }),
  };
  const sizes = packingOf(tile).sizes(tile, rows, cols);
  const fields: Record<string, Field> = {};
  let bytes = 0;
  for (const [key, entry] of Object.entries(entries)) {
    fields[key] = { handle: entry.source.handle, offset: entry.offset, ...sizes[key]! };
    bytes += entry.bytes;
  }
  const fileName = `${module}.weight`;
  const shape = [rows, cols];
  const held = { stored: { rows, cols, form: 'tile' as const, tile, fields }, type: tileLabel(tile), bytes };
  return { fileName, shape, named: (identity) => weightTensor(fileName, shape, identity, held) };
}

/** AutoGPTQ gave every linear a bias, of zeros where the model has none. @param expected the tensors of the model */
export async function withoutZeroBiases(
  checkpoint: Checkpoint,
  tensors: ReadonlyMap<string, Unnamed>,
  expected: ReadonlyMap<string, unknown>,
): Promise<Map<string, Unnamed>> {
  const kept = new Map(tensors);
  for (const name of tensors.keys()) {
    const entry = checkpoint.tensors.get(name);
    const isExtra = name.endsWith('.bias') && !expected.has(name) && tensors.has(name.replace(/bias$/, 'weight'));
    if (!entry || !isExtra || entry.shape.length !== 1) continue;
    const bytes = await read(entry.source, entry.offset, entry.bytes);
    if (bytes.every((byte) => byte === 0)) kept.delete(name);
  }
  return kept;
}
