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
    const walked = this.#last.then(() => this.#walk(tensors, visit));
    this.#last = walked.catch(() => {});
    return walked;
  }

  async close(): Promise<void> {
    await this.#last;
    await (await this.#tools)?.close();
    this.#tools = undefined;
  }

  async #walk<T>(tensors: readonly StoredTensor[], visit: (step: Step) => T | undefined): Promise<T | undefined> {
    this.#tools ??= tileTools();
    const { kernels, open } = await this.#tools;
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

/** All rows that were fetched, as f32 [count, cols] in the arena. */
export function decoded(kernels: Kernels, rows: FetchedRows, cols: number): Float32Array {
  const at = kernels.alloc(rows.count * cols * 4);
  rows.decode(0, rows.count, at);
  return kernels.f32(at, rows.count * cols);
}
