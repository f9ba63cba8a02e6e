/** A tile whose codes are chosen with error feedback: the rows as a whole, because columns see each other. */
import { RecipeError } from '../errors.ts';
import { hasLevels, roundBlocks } from '../format/gguf/blocks/index.ts';
import type { FetchedRows } from '../format/read-rows.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { feedRows, surveyFed } from '../quantize/kinds/feed.ts';
import type { Survey } from '../quantize/kinds/types.ts';
import type { TilePlace } from '../quantize/quantize-matrix.ts';
import { symmetricProductOf } from '../quantize/rounding/products.ts';
import { type RefineMath, refineMath } from '../quantize/rounding/refine-math.ts';
import { correctedTargets } from '../quantize/rounding/targets.ts';
import type { Scheme, WeightScheme } from '../quantize/scheme.ts';
import type { QuantizedTile } from '../quantized/types.ts';
import { checkFinite } from './encode-storage.ts';
import type { TileInputs, TileTask } from './tile.ts';

/** What feedback needs of the input. */
export type SolvedInputs = TileInputs & Required<Pick<TileInputs, 'factor' | 'hessian'>>;

/** Whether a task's codes are chosen with feedback: its scheme asks for it and the Hessian could be factorized. */
export function solvedInputs({ scheme, inputs }: TileTask): SolvedInputs | undefined {
  return scheme.kind !== 'keep' && scheme.rounding && inputs?.factor && inputs.hessian ? (inputs as SolvedInputs) : undefined;
}

/** Codes and levels of a grid. */
export function roundGrid(task: TileTask, scheme: WeightScheme, kernels: Kernels, rows: FetchedRows): QuantizedTile {
  const inputs = solvedInputs(task)!;
  const target = targetOf(task, kernels, rows, inputs);
  return feedRows({ kernels, math: mathOf(kernels) }, target, placeOf(task), scheme, inputs, task.survey);
}

/** What all rows agree on, of what their codes aim at. */
export function surveyGrid(task: TileTask, scheme: WeightScheme, kernels: Kernels, rows: FetchedRows): Survey {
  const inputs = solvedInputs(task)!;
  const target = targetOf(task, kernels, rows, inputs);
  return surveyFed({ kernels, math: mathOf(kernels) }, target, placeOf(task), scheme, inputs);
}

export function placeOf({ name, from: { rows, cols }, rows: [from, to] }: TileTask): TilePlace {
  return { name, shape: [rows, cols], from, to };
}

export function roundStorage(
  task: TileTask,
  scheme: Extract<Scheme, { kind: 'storage' }>,
  kernels: Kernels,
  rows: FetchedRows,
): Uint8Array {
  const { type, encoder } = scheme;
  if (!hasLevels(type))
    throw new RecipeError({
      what: 'this type cannot be rounded with feedback',
      where: task.name,
      value: type,
      next: 'use --method rtn',
    });
  const inputs = solvedInputs(task)!;
  const target = targetOf(task, kernels, rows, inputs);
  return roundBlocks(kernels, type, target, {
    ...inputs,
    rounds: scheme.rounding!.refine,
    math: mathOf(kernels),
    name: task.name,
    ...(encoder && { encoder }),
  });
}

/** What the codes aim at, [rows of the tile, cols]. */
function targetOf(task: TileTask, kernels: Kernels, rows: FetchedRows, { drift, factor }: SolvedInputs): Float32Array {
  const { cols } = task.from;
  const mark = kernels.mark();
  const at = kernels.alloc(rows.count * cols * 4);
  rows.decode(0, rows.count, at);
  checkFinite(task, kernels, at, 0, rows.count);
  const weights = kernels.f32(at, rows.count * cols).slice();
  kernels.reset(mark);
  if (!drift) return weights;
  const [from, to] = task.rows;
  // Linears whose output joins the residual stream have their rows in canonical order: only q and k are interleaved.
  const residual = drift.residual?.subarray(from * cols, to * cols);
  return correctedTargets(kernels, weights, { input: drift.input, ...(residual && { residual }) }, factor, task.name);
}

function mathOf(kernels: Kernels): RefineMath {
  return refineMath(kernels, symmetricProductOf(kernels));
}
