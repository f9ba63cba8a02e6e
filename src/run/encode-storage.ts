import { NumericError } from '../errors.ts';
import type { FetchedRows } from '../format/read-rows.ts';
import { encoderName, firstBadScale } from '../kernels/index.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { type StorageType, storageBytes } from '../tensor/storage.ts';
import type { TileTask } from './tile.ts';

/** Values decoded and encoded at a time: 64 Ki of f32 are 256 KiB and stay in the second-level cache. */
const RUN_VALUES = 65_536;

function runRows(cols: number): number {
  return Math.max(1, Math.floor(RUN_VALUES / cols));
}

/** Encodes fetched rows into one storage type; tells where in the kernels' memory the result lies, [rows, rowBytes]. */
export function encodeStorage(
  task: TileTask,
  kernels: Kernels,
  rows: FetchedRows,
  type: StorageType,
): { at: number; length: number } {
  const { cols } = task.from;
  const rowBytes = storageBytes(type, cols);
  const out = kernels.alloc(rows.count * rowBytes);
  const step = runRows(cols);
  const scratch = kernels.alloc(step * cols * 4);
  const importance = task.inputs?.meansquare;
  const weights = importance ? kernels.alloc(cols * 4) : 0;
  if (importance) kernels.f32(weights, cols).set(importance);
  const copies = rows.raw?.type === type;
  const encoder = encoderName(type, task.scheme.kind === 'storage' ? (task.scheme.encoder ?? 'exact') : 'exact');
  for (let first = 0; first < rows.count; first += step) {
    const n = Math.min(step, rows.count - first);
    const target = out + first * rowBytes;
    if (rows.decodable) {
      rows.decode(first, n, scratch);
      checkFinite(task, kernels, scratch, first, n);
    }
    if (copies) copyRows(kernels, rows, first, n, target);
    else if (type === 'f32') kernels.bytes(target, n * rowBytes).set(kernels.bytes(scratch, n * rowBytes));
    else kernels.call(encoder, scratch, target, n, cols, weights);
  }
  if (!copies) checkScales(task, kernels, out, rows.count * rowBytes, type);
  return { at: out, length: rows.count * rowBytes };
}

function copyRows(kernels: Kernels, rows: FetchedRows, first: number, count: number, target: number): void {
  const { at, rowBytes, ordered, row } = rows.raw!;
  const copy = (from: number, to: number, n: number) => kernels.bytes(to, n).set(kernels.bytes(from, n));
  if (ordered) copy(at + first * rowBytes, target, count * rowBytes);
  else for (let r = 0; r < count; r++) copy(at + row(first + r) * rowBytes, target + r * rowBytes, rowBytes);
}

/** `at`: f32[count, cols], rows from `first` of the tile. */
export function checkFinite(task: TileTask, kernels: Kernels, at: number, first: number, count: number): void {
  const { cols } = task.from;
  const index = kernels.call('first_nonfinite', at, count * cols);
  if (index < 0) return;
  throw new NumericError({
    what: 'a weight is not finite',
    where: `${task.name}[${task.rows[0] + first + Math.floor(index / cols)}, ${index % cols}]`,
    value: `${kernels.f32(at + index * 4, 1)[0]}`,
    next: 'the checkpoint is damaged or its dtype overflowed: get it again or repair the tensor',
  });
}

/** An f16 scale or value beyond 65504 is Inf and takes its whole block with it: llama.cpp refuses such a file. */
function checkScales(task: TileTask, kernels: Kernels, at: number, length: number, type: StorageType): void {
  const block = firstBadScale(kernels, type, at, length);
  if (block < 0) return;
  const place = { where: task.name, value: `block ${block} of the tile that starts at row ${task.rows[0]}` };
  if (type === 'mxfp4') {
    const what = "the largest value of a block is so small (below 2^-125) that ggml's exponent is the NaN of E8M0";
    throw new NumericError({ what, ...place, next: 'use --encoder search, or keep this tensor (--keep)' });
  }
  throw new NumericError({
    what: `a value or block scale is beyond the range of f16 in ${type}`,
    ...place,
    limit: 65504,
    next: 'keep this tensor at high precision (--keep) or choose bf16',
  });
}
