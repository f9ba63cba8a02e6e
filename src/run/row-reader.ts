/**
 * Reading of whole tensors as f32, step by step, in this thread: for weights of the graph, summaries of values and verification.
 * Calls wait for each other, because all of them use one arena.
 */
import { type FetchedRows, fetchRows } from '../format/read-rows.ts';
import { rowStep } from '../format/row-order.ts';
import type { StoredTensor } from '../format/types.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { type OwnedTools, tileTools } from './tile-tools.ts';

/** Rows [from, from + rows[0].count) of each tensor, in the arena until `visit` ends. */
export interface Step {
  kernels: Kernels;
  from: number;
  rows: readonly FetchedRows[];
}

/** Values fetched at a time: 1 Mi of f32 are 4 MiB. */
const STEP_VALUES = 2 ** 20;

export class RowReader {
  #tools: Promise<OwnedTools> | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** Visits tensors of equal shape side by side; ends when all rows are seen or `visit` gives something but undefined. */
  walk<T>(tensors: readonly StoredTensor[], visit: (step: Step) => T | undefined): Promise<T | undefined> {
    return this.#inTurn((tools) => this.#walk(tools, tensors, visit));
  }

  /** Some rows of a tensor, in the order asked for, [wanted.length, cols]. */
  async rows(tensor: StoredTensor, wanted: Int32Array): Promise<Float32Array> {
    const { cols } = tensor;
    const out = new Float32Array(wanted.length * cols);
    const places = Array.from(wanted, (row, place) => ({ row, place })).sort((a, b) => a.row - b.row);
    for (const run of runs(places, rowStep(STEP_VALUES, tensor))) {
      const from = run[0]!.row;
      await this.#inTurn(async ({ kernels, open }) => {
        kernels.reset();
        const values = decoded(kernels, await fetchRows(kernels, open, tensor, from, run.at(-1)!.row + 1), cols);
        for (const { row, place } of run) out.set(values.subarray((row - from) * cols, (row - from + 1) * cols), place * cols);
      });
    }
    return out;
  }

  async close(): Promise<void> {
    await this.#last;
    await (await this.#tools)?.close();
    this.#tools = undefined;
  }

  #inTurn<T>(work: (tools: OwnedTools) => Promise<T>): Promise<T> {
    this.#tools ??= tileTools();
    const tools = this.#tools;
    const done = this.#last.then(async () => work(await tools));
    this.#last = done.catch(() => {});
    return done;
  }

  async #walk<T>(
    { kernels, open }: OwnedTools,
    tensors: readonly StoredTensor[],
    visit: (step: Step) => T | undefined,
  ): Promise<T | undefined> {
    const total = tensors[0]!.rows;
    const step = rowStep(STEP_VALUES, ...(tensors as [StoredTensor, ...StoredTensor[]]));
    for (let from = 0; from < total; from += step) {
      kernels.reset();
      const rows: FetchedRows[] = [];
      for (const tensor of tensors) rows.push(await fetchRows(kernels, open, tensor, from, Math.min(total, from + step)));
      const result = visit({ kernels, from, rows });
      if (result !== undefined) return result;
    }
    return undefined;
  }
}

/** Rows further apart than this are read one by one: what lies between them would be decoded for nothing. */
const GAP = 8;

/** Cuts sorted rows into runs that are fetched at once, of at most `most` rows each. */
function* runs<T extends { row: number }>(sorted: readonly T[], most: number): Iterable<T[]> {
  let run: T[] = [];
  for (const place of sorted) {
    if (run.length > 0 && (place.row - run.at(-1)!.row > GAP || place.row - run[0]!.row >= most)) {
      yield run;
      run = [];
    }
    run.push(place);
  }
  if (run.length > 0) yield run;
}

/** All rows that were fetched, as f32 [count, cols] in the arena. */
export function decoded(kernels: Kernels, rows: FetchedRows, cols: number): Float32Array {
  const at = kernels.alloc(rows.count * cols * 4);
  rows.decode(0, rows.count, at);
  return kernels.f32(at, rows.count * cols);
}
