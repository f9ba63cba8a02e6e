/**
 * One tile: rows [from, to) of one tensor, from the source's bytes to the output's bytes and back. All the time of a data-free run
 * goes here. It runs in a worker; everything it needs is in the task.
 *
 *   fetch rows -> f32 (run by run, in cache) -> check finite -> encode -> write at the planned place
 *   -> read back what was written -> decode -> compare with the source
 */
import { VerificationError } from '../errors.ts';
import type { TileErrors } from '../evaluate/tensor-report.ts';
import { fieldInMemory, writeField } from '../format/field-ranges.ts';
import { exactBlocks, exactTypeOf } from '../format/gguf/from-tile.ts';
import { tileOfBlocks } from '../format/gguf/to-tile.ts';
import { type FetchedRows, fetchRows, type OpenSource } from '../format/read-rows.ts';
import { containers } from '../format/registry.ts';
import { storedRow } from '../format/row-order.ts';
import type { ContainerName, Field, Quota, StoredTensor, Stripes } from '../format/types.ts';
import type { ByteSink, SinkHandle } from '../io/types.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { encodeRows, surveyScheme } from '../quantize/kinds/encode.ts';
import type { Survey } from '../quantize/kinds/types.ts';
import type { Drift } from '../quantize/rounding/drift.ts';
import type { Factor } from '../quantize/rounding/factor.ts';
import { isWeightScheme, type Scheme, type WeightScheme } from '../quantize/scheme.ts';
import type { TileForm } from '../quantized/form.ts';
import type { QuantizedTile } from '../quantized/types.ts';
import { compareRows, stepLimit } from './compare-rows.ts';
import { checkFinite, encodeStorage } from './encode-storage.ts';
import { placeOf, roundGrid, roundStorage, solvedInputs, surveyGrid } from './round-tile.ts';

export interface TileField {
  handle: SinkHandle;
  offset: number;
  rowBytes: number;
  whole?: number;
  stripes?: Stripes;
  quota?: Quota;
}

export interface TileTask {
  name: string;
  container: ContainerName;
  from: StoredTensor;
  scheme: Scheme;
  tile?: TileForm;
  fields: Record<string, TileField>;
  rows: readonly [from: number, to: number];
  inputs?: TileInputs;
  /** What all rows of the tensor agree on. */
  survey?: Survey;
  /** write: encode and write; check: read back and compare only; both: one after the other. */
  steps: 'write' | 'check' | 'both';
}

/** What is known of the input of the matrix. */
export interface TileInputs {
  /** Of each column, [cols]: the importance matrix of the block types. */
  meansquare?: Float32Array;
  /** [cols] */
  absmax?: Float32Array;
  /** For error feedback. */
  factor?: Factor;
  /** (1 / n) sum of x x', [cols, cols], where there is a factor with its damp; shared between threads where memory can be. */
  hessian?: Float32Array;
  /** What the quantized layers before have moved: the target makes up for it. */
  drift?: Drift;
}

export interface TileResult {
  /** Undefined for integers and where nothing was read back. */
  errors?: TileErrors;
  /** Bytes that the caller has to write, where a worker cannot reach the sink. */
  pieces?: TilePiece[];
}

/** The task's rows of one field. */
export interface TilePiece {
  key: string;
  bytes: Uint8Array;
}

export interface TileTools {
  kernels: Kernels;
  open: OpenSource;
  sink(handle: SinkHandle): Promise<ByteSink>;
}

/** Encoded rows of one field. Views are made when they are needed: growth of the kernels' memory detaches older ones. */
interface Encoded {
  key: string;
  /** Where in the kernels' memory, unless it was packed in JavaScript. */
  arena?: { at: number; length: number };
  bytes(): Uint8Array;
}

export async function runTile(task: TileTask, tools: TileTools): Promise<TileResult> {
  const { kernels } = tools;
  kernels.reset();
  const rows = await fetchRows(kernels, tools.open, task.from, ...task.rows);
  const encoded = task.steps === 'check' ? [] : encode(task, kernels, rows);
  const reachable = Object.values(task.fields).every((field) => field.handle.kind === 'file');
  const pieces = reachable ? undefined : encoded.map(({ key, bytes }) => ({ key, bytes: bytes().slice() }));
  if (reachable)
    for (const { key, bytes } of encoded) {
      const field = task.fields[key]!;
      await writeField(await tools.sink(field.handle), field, task.rows, bytes());
    }
  const errors = task.steps === 'write' ? undefined : await check(task, tools, rows, encoded, pieces);
  return { ...(errors && { errors }), ...(pieces && { pieces }) };
}

function encode(task: TileTask, kernels: Kernels, rows: FetchedRows): Encoded[] {
  const { scheme } = task;
  const held = task.tile && scheme.kind === 'keep' ? (rows.tile ?? blocksAsTile(task, kernels, rows)) : undefined;
  if (held) return packed(task, held);
  const solved = solvedInputs(task);
  if (solved && scheme.kind === 'storage') {
    const blocks = roundStorage(task, scheme, kernels, rows);
    return [{ key: 'data', bytes: () => blocks }];
  }
  if (solved && isWeightScheme(scheme)) return packed(task, roundGrid(task, scheme, kernels, rows));
  if (!isWeightScheme(scheme)) {
    const exact = exactly(task, rows);
    if (exact) return [{ key: 'data', bytes: () => exact }];
    const type = scheme.kind === 'storage' ? scheme.type : rows.raw!.type;
    const arena = encodeStorage(task, kernels, rows, type);
    return [{ key: 'data', arena, bytes: () => kernels.bytes(arena.at, arena.length) }];
  }
  return packed(task, encodeRows(valuesOf(task, kernels, rows), placeOf(task), scheme, task.inputs ?? {}, task.survey));
}

/** In the kernels' memory, [rows of the task, cols]. */
function valuesOf(task: TileTask, kernels: Kernels, rows: FetchedRows): Float32Array {
  const count = rows.count * task.from.cols;
  const at = kernels.alloc(count * 4);
  rows.decode(0, rows.count, at);
  checkFinite(task, kernels, at, 0, rows.count);
  return kernels.f32(at, count);
}

/** Every tile writes the levels of the whole tensor, the same bytes: each can then be read back before the first is done. */
function packed(task: TileTask, tile: QuantizedTile): Encoded[] {
  return Object.entries(containers[task.container].pack(tile, task.tile!)).map(([key, bytes]) => ({
    key,
    bytes: () => bytes,
  }));
}

/** ggml blocks that mean the same as codes under a scale. */
function blocksAsTile(
  { name, from, rows: [first, end] }: TileTask,
  kernels: Kernels,
  { raw, count }: FetchedRows,
): QuantizedTile {
  const { type, at, rowBytes, row } = raw!;
  const place = { name, shape: [from.rows, from.cols] as const, from: first, to: end };
  return tileOfBlocks(kernels.bytes(at, count * rowBytes), type, place, row);
}

/** Integer codes that the type holds as they are: nothing is encoded again. */
function exactly({ scheme, from, rows: [first] }: TileTask, { tile }: FetchedRows): Uint8Array | undefined {
  if (!tile || scheme.kind !== 'storage' || from.form !== 'tile') return undefined;
  const type = exactTypeOf(from.tile, from.cols);
  if (type === undefined || type !== scheme.type) return undefined;
  const { order } = from;
  return exactBlocks(tile, type, (r) => (order ? storedRow(order, from.rows, first + r) - first : r));
}

/**
 * Decodes what the output holds and compares it with the source. `encoded` is what was meant to be written; without it (a resumed
 * run) the errors tell whether the rows are what they should be.
 */
async function check(
  task: TileTask,
  tools: TileTools,
  rows: FetchedRows,
  encoded: Encoded[],
  pieces?: TilePiece[],
): Promise<TileErrors | undefined> {
  const { kernels } = tools;
  const back = await fetchRows(kernels, tools.open, readBack(task, rows, pieces), ...task.rows);
  const arena = encoded.find(({ key }) => key === 'data')?.arena;
  if (arena && back.raw && kernels.call('first_difference', arena.at, back.raw.at, arena.length) >= 0) {
    throw new VerificationError({
      what: 'what was read back is not what was written',
      where: task.name,
      value: `rows ${task.rows[0]}..${task.rows[1] - 1}`,
      next: 'the disk or its driver is failing; run the same command again on another disk',
    });
  }
  return compareRows(kernels, { from: task.rows[0], cols: task.from.cols, stepLimit: stepLimit(task.scheme) }, rows, back);
}

/** How the output's rows are decoded: the same path as for any input, so that the check uses nothing the encoder computed. */
function readBack(task: TileTask, rows: FetchedRows, pieces?: TilePiece[]): StoredTensor {
  const { cols } = task.from;
  const shape = { rows: task.from.rows, cols };
  const fields: Record<string, Field> = { ...task.fields };
  // Not written yet, the caller does it.
  for (const { key, bytes } of pieces ?? []) fields[key] = fieldInMemory(task.fields[key]!, bytes, task.rows);
  if (task.tile) return { ...shape, form: 'tile', tile: task.tile, fields };
  const type = task.scheme.kind === 'storage' ? task.scheme.type : rows.raw!.type;
  return { ...shape, form: 'storage', type, data: fields['data']! };
}

/** What the task's rows say of what all rows agree on: limits are merged over the tiles of the tensor. */
export async function surveyTile(task: TileTask, { kernels, open }: TileTools): Promise<Survey> {
  kernels.reset();
  const rows = await fetchRows(kernels, open, task.from, ...task.rows);
  const scheme = task.scheme as WeightScheme;
  if (solvedInputs(task)) return surveyGrid(task, scheme, kernels, rows);
  return surveyScheme(valuesOf(task, kernels, rows), placeOf(task), scheme, task.inputs ?? {});
}
