/** H + damp = R R', tile by tile from the last column to the first, over the threads of a pool or in the caller's own. */
import type { Kernels } from '../../kernels/kernels.ts';
import { byUrgency } from './by-urgency.ts';
import type { Factor } from './factor.ts';
import { TILE, TILE_SIZE } from './factor.ts';
import { type FactorResult, type FactorTask, factorTask } from './factor-task.ts';
import { type ColumnOrder, type OrderedHessian, orderHessian, UpperTiles } from './upper-tiles.ts';

export interface FactorOptions extends ColumnOrder {
  /** Share of the mean of diag(H), dead inputs repaired, that is added to the diagonal. */
  damp: number;
  /** The linear, for messages. */
  name: string;
}

/** No damp that was tried makes H positive definite: weights are then rounded to nearest. */
export interface FactorFailure {
  /** Why, for the report. */
  fallback: string;
  /** The last that was tried. */
  damp: number;
  retries: number;
}

/** How often a larger damp is tried, ten times as large each. */
const RETRIES = 3;
/** Tile products that make a task worth its message: some 3 ms. */
const PRODUCTS = 16;

/**
 * Factorizes with the threads behind `runTask`, which does the tasks named 'factor' by `factorTask`. The bits are the same for any
 * number of threads. Besides the Hessian it holds half a matrix.
 * @param hessian [cols, cols]
 * @param concurrency tasks to give at once
 * @throws NumericError for NaN or Inf
 */
export async function factorize(
  hessian: Float32Array,
  options: FactorOptions,
  runTask: (task: string, payload: unknown) => Promise<unknown>,
  concurrency: number,
): Promise<Factor | FactorFailure> {
  const ordered = orderHessian(hessian, options, options.name);
  const tiles = new UpperTiles(ordered.cols);
  const run = (task: FactorTask): Promise<FactorResult> => runTask('factor', task) as Promise<FactorResult>;
  for (const attempt of attempts(options.damp)) {
    tiles.fill(ordered, attempt.damp);
    const roots = await decompose(tiles, run, concurrency);
    if (roots) return factorOf(ordered, tiles, roots, attempt);
  }
  return failure(options.damp);
}

/** The same in the caller's thread. */
export function factorizeHere(kernels: Kernels, hessian: Float32Array, options: FactorOptions): Factor | FactorFailure {
  const ordered = orderHessian(hessian, options, options.name);
  const tiles = new UpperTiles(ordered.cols);
  for (const attempt of attempts(options.damp)) {
    tiles.fill(ordered, attempt.damp);
    const roots = decomposeHere(tiles, kernels);
    if (roots) return factorOf(ordered, tiles, roots, attempt);
  }
  return failure(options.damp);
}

interface Attempt {
  damp: number;
  retries: number;
}

function attempts(damp: number): Attempt[] {
  const raised = Math.max(damp, 0.001);
  return Array.from({ length: RETRIES + 1 }, (_, retries) => ({ damp: retries === 0 ? damp : raised * 10 ** retries, retries }));
}

function failure(damp: number): FactorFailure {
  const last = attempts(damp)[RETRIES]!;
  return { fallback: `the Hessian is not positive definite, even with damp ${last.damp}`, ...last };
}

function factorOf({ cols, order, dead }: OrderedHessian, tiles: UpperTiles, roots: Float32Array, attempt: Attempt): Factor {
  return { cols, order, dead, matrix: tiles.values, roots, ...attempt };
}

function decomposeHere(tiles: UpperTiles, kernels: Kernels): Float32Array | undefined {
  const roots = new Float32Array(tiles.count * TILE);
  for (let j = tiles.count - 1; j >= 0; j--) {
    const row = tiles.row(j, j);
    const result = factorTask({ step: 'diagonal', row }, kernels);
    if (!result.roots) return undefined;
    roots.set(result.roots, j * TILE);
    for (let i = 0; i < j; i++) factorTask({ step: 'solve', rows: [tiles.row(i, j)], row }, kernels);
  }
  for (let i = 0; i < tiles.count; i++)
    factorTask({ step: 'unit', row: tiles.row(i, i), roots: roots.subarray(i * TILE) }, kernels);
  return roots;
}

/** diag(R), or undefined where a pivot is not positive. */
async function decompose(
  tiles: UpperTiles,
  run: (task: FactorTask) => Promise<FactorResult>,
  concurrency: number,
): Promise<Float32Array | undefined> {
  const roots = new Float32Array(tiles.count * TILE);
  const give = byUrgency(concurrency);
  let positive = true;
  const given = (view: Float32Array): Float32Array => (tiles.isShared ? view : view.slice());
  /** Runs a task and puts what it changed where the rows of `changed` start. */
  const perform = async (task: () => FactorTask, changed: Float32Array[], urgency: number): Promise<FactorResult> => {
    const result: FactorResult = await give(urgency, async () => (positive ? run(task()) : {}));
    for (const [i, tile] of result.tiles?.entries() ?? []) changed[i]!.set(tile);
    return result;
  };
  const diagonal = async (j: number): Promise<void> => {
    const row = tiles.row(j, j);
    const result = await perform(() => ({ step: 'diagonal', row: given(row) }), [row], 2 * j + 1);
    if (result.roots) roots.set(result.roots, j * TILE);
    else positive = false;
  };
  const solve = (from: number, to: number, j: number): Promise<unknown> => {
    const rows = Array.from({ length: to - from }, (_, n) => tiles.row(from + n, j));
    return perform(() => ({ step: 'solve', rows: rows.map(given), row: given(tiles.row(j, j)) }), rows, 2 * j);
  };

  // Row i is ready for column j when its tiles (i, k > j) are done; the next diagonal need not wait for the rest of a column.
  const ready: Promise<unknown>[] = Array.from({ length: tiles.count }, async () => {});
  for (let j = tiles.count - 1; j >= 0; j--) {
    const root = ready[j]!.then(() => diagonal(j));
    ready[j] = root;
    const size = Math.max(1, Math.min(Math.ceil(PRODUCTS / (tiles.count - j)), Math.ceil(j / concurrency)));
    for (let to = j; to > 0; to -= size) {
      const from = Math.max(0, to - size);
      const done = Promise.all([root, ...ready.slice(from, to)]).then(() => solve(from, to, j));
      ready.fill(done, from, to);
    }
  }
  await Promise.all(ready);
  if (!positive) return undefined;
  const unit = (i: number): Promise<unknown> => {
    const row = tiles.row(i, i);
    const each = Array.from({ length: row.length / TILE_SIZE }, (_, k) => row.subarray(k * TILE_SIZE));
    return perform(() => ({ step: 'unit', row: given(row), roots: roots.slice(i * TILE) }), each, i);
  };
  await Promise.all(Array.from({ length: tiles.count }, (_, i) => unit(i)));
  return roots;
}
