/**
 * Rows of a matrix by any scheme with error feedback: what is kept apart takes its target and feeds no error on, balanced columns are
 * fed in their own space, the rest goes to codes under the levels of the grid; then codes, levels and kept values improve in turn.
 */
import type { Kernels } from '../../kernels/kernels.ts';
import { floatTypes } from '../../numeric/float.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { dequantizeTile } from '../dequantize.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { scaledFactor } from '../rounding/column-space.ts';
import type { Factor } from '../rounding/factor.ts';
import { feedTile } from '../rounding/feed-tile.ts';
import type { KeptCells } from '../rounding/feedback.ts';
import { type GptqScheme, gptqTile } from '../rounding/gptq-rows.ts';
import { keptCells, withKeptValues } from '../rounding/kept-cells.ts';
import type { RefineMath } from '../rounding/refine-math.ts';
import { refineTile } from '../rounding/refine-tile.ts';
import type { IntegerScheme, WeightScheme } from '../scheme.ts';
import { lowRankOf } from '../split/low-rank.ts';
import { APART } from './apart.ts';
import { divided, inSpaceOf, surveyScheme, takenApart } from './encode.ts';
import { rangesOf } from './integer.ts';
import { kindOf } from './registry.ts';
import type { InputStatistics, Survey } from './types.ts';

/** What is known of the input where codes are fed. */
export interface FedInputs extends InputStatistics {
  factor: Factor;
  /** With the damp of the factor, [cols, cols]. */
  hessian: Float32Array;
}

export interface FeedTools {
  kernels: Kernels;
  math: RefineMath;
}

/** Rows that are fed at a time where the whole matrix has to be seen. */
const SURVEY_ROWS = 128;

/** The Hessian is damped, but for inputs that are always zero: so little more makes it positive definite. */
const DEAD_SHARE = 1e-6;

/**
 * @param x what the codes aim at, [to - from, cols]; not a view of the kernels' memory
 * @throws NumericError for NaN, infinities and feedback that overflows, RecipeError for groups or statistics that do not fit
 */
export function feedRows(
  tools: FeedTools,
  x: Float32Array,
  place: TilePlace,
  scheme: WeightScheme,
  inputs: FedInputs,
  survey: Survey = {},
): QuantizedTile {
  const cols = place.shape[1];
  const { columnScale, lowRank } = survey;
  const space = columnScale ? { ...inSpaceOf(columnScale, inputs), factor: scaledFactor(inputs.factor, columnScale) } : inputs;
  const { rest, ...apart } = takenApart(x, place, scheme, space, survey, countsOf(space.factor));
  const mask = keptCells(apart, place.to - place.from, cols);
  // Divided by a factor a value has no type that it is stored in: it is rounded when it is multiplied again.
  const kept: KeptCells | undefined = mask && { mask, stored: columnScale ? 'f32' : APART };
  const target = divided(x, cols, columnScale);
  const fed = fedTile(tools, target, divided(rest, cols, columnScale), place, scheme, space, survey, kept);
  const { hessian } = space;
  const cells = kept && { ...kept, values: fed.keptValues! };
  refineTile(target, fed.tile, hessian, { rounds: scheme.rounding!.refine, math: tools.math, ...(cells && { kept: cells }) });
  const tile = { ...fed.tile, ...(columnScale && { columnScale }) };
  const held = cells && withKeptValues(apart, storedKept(cells.values, cols, columnScale), cols);
  return withCorrection({ ...tile, ...held }, lowRank, scheme.split?.lowRank?.rank ?? 0);
}

/** What is left of a squared error in a column when the columns after it have made up for it, [cols]. */
function countsOf({ cols, order, roots }: Factor): Float32Array {
  const counts = new Float32Array(cols);
  for (const [k, c] of order.entries()) counts[c] = roots[k]! ** 2;
  return counts;
}

/** Integers find their levels as the feedback goes, where groups are dynamic; all others keep those of nearest codes. */
function fedTile(
  { kernels }: FeedTools,
  target: Float32Array,
  rest: Float32Array,
  place: TilePlace,
  scheme: WeightScheme,
  inputs: FedInputs,
  survey: Survey,
  kept: KeptCells | undefined,
): { tile: QuantizedTile; keptValues?: Float32Array } {
  if (scheme.kind === 'integer' && !scheme.nested) {
    const { limits } = survey;
    const ranges = rangesOf(scheme, place.shape[1], inputs);
    return gptqTile(kernels, target, { ...place, ...(limits && { survey: limits }) }, gptqScheme(scheme), inputs.factor, {
      inputs: ranges,
      ...(kept && { kept }),
    });
  }
  const tile = kindOf(scheme).quantize(rest, place, scheme, inputs, survey);
  const keptValues = feedTile(kernels, target, tile, inputs.factor, kept);
  return { tile, ...(keptValues && { keptValues }) };
}

function gptqScheme({ split: _, balance: __, nested: ___, ...scheme }: IntegerScheme): GptqScheme {
  return scheme as GptqScheme;
}

function storedKept(values: Float32Array, cols: number, columnScale?: Float32Array): Float32Array {
  const { round } = floatTypes[APART];
  return columnScale ? values.map((value, i) => round(Math.fround(value * columnScale[i % cols]!))) : values;
}

/** Adds the rows of a correction. It was made of what is left beside the sparse values too, which replace what codes and it say. */
function withCorrection(tile: QuantizedTile, lowRank: Survey['lowRank'], rank: number): QuantizedTile {
  if (!lowRank) return tile;
  const cols = tile.shape[1];
  const a = lowRank.a.slice(tile.from * rank, tile.to * rank);
  const { b } = lowRank;
  const { round } = floatTypes[APART];
  const value = tile.sparse?.value.map((held, i) => {
    let sum = held;
    for (let k = 0; k < rank; k++) sum += a[tile.sparse!.row[i]! * rank + k]! * b[k * cols + tile.sparse!.col[i]!]!;
    return round(sum);
  });
  return { ...tile, ...(value && { sparse: { ...tile.sparse!, value } }), lowRank: { a, b } };
}

/**
 * What all rows agree on. A correction of low rank is made of what feedback leaves, in the norm of the Hessian: in any other norm it
 * would undo what the errors do for each other.
 * @param x what the codes aim at, [rows, cols] where `schemeSurveys` says matrix
 */
export function surveyFed(tools: FeedTools, x: Float32Array, place: TilePlace, scheme: WeightScheme, inputs: FedInputs): Survey {
  const { split, ...rest } = scheme;
  const { lowRank, ...others } = split ?? {};
  const plain = { ...rest, ...(Object.keys(others).length > 0 && { split: others }) } as WeightScheme;
  const found = surveyScheme(x, place, plain, inputs, countsOf(inputs.factor));
  if (!lowRank) return found;
  const cols = place.shape[1];
  const error = new Float32Array(x.length);
  for (let from = place.from; from < place.to; from += SURVEY_ROWS) {
    const to = Math.min(from + SURVEY_ROWS, place.to);
    const at = (from - place.from) * cols;
    const part = x.slice(at, (to - place.from) * cols);
    const decoded = dequantizeTile(feedRows(tools, part, { ...place, from, to }, plain, inputs, found));
    for (let i = 0; i < part.length; i++) error[at + i] = part[i]! - decoded[i]!;
  }
  const { rank } = lowRank;
  const weighting = { hessian: inputs.hessian, damp: DEAD_SHARE };
  return { ...found, lowRank: lowRankOf(error, place.shape, { rank, inputs: weighting }, place.name) };
}
