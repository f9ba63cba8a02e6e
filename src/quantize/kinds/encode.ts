/**
 * Rows of a matrix by any scheme: outliers are taken out, columns are balanced, the rest goes to the grid.
 *   x̂ = columnScale * grid((x without outliers) / columnScale) + a b, and outliers as they are
 */
import type { TileForm } from '../../quantized/form.ts';
import { valuesBefore } from '../../quantized/quota.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { dequantizeTile } from '../dequantize.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { scaledHessian } from '../rounding/column-space.ts';
import type { WeightScheme } from '../scheme.ts';
import { sinqScales } from '../sinq.ts';
import { lowRankOf } from '../split/low-rank.ts';
import type { StatisticKind } from '../statistics.ts';
import { APART, outlierColumns, outlierPlaces, outliersOf, sparsePerRow, withoutApart } from './apart.ts';
import { kindOf } from './registry.ts';
import type { InputStatistics, Survey } from './types.ts';

/** Statistics of the input that the scheme cannot do without. */
export function schemeNeeds(scheme: WeightScheme): readonly StatisticKind[] {
  const { split, rounding } = scheme;
  const needs: StatisticKind[] = [...kindOf(scheme).needs(scheme)];
  if (rounding) needs.push('hessian');
  if (split?.sparse?.by === 'sensitivity' || split?.lowRank?.weighted) needs.push('meansquare');
  if (split?.columns) needs.push('absmax');
  return [...new Set(needs)];
}

/** How the result lies in fields. */
export function schemeForm(scheme: WeightScheme, cols: number): TileForm {
  const { split, balance } = scheme;
  const { sparse, columns, lowRank } = split ?? {};
  return {
    ...kindOf(scheme).form(scheme),
    ...(balance && { columnScale: 'f32' as const }),
    ...(sparse && { sparse: { perRow: sparsePerRow(sparse.share, cols), stored: APART } }),
    ...(columns && { columns: { count: columns.count, stored: APART } }),
    ...(lowRank && { lowRank: { rank: lowRank.rank, stored: 'f16' as const } }),
  };
}

/** What has to be seen before the first row is encoded: limits that are merged over tiles, or all rows at once. */
export function schemeSurveys(scheme: WeightScheme): 'limits' | 'matrix' | undefined {
  return scheme.balance || scheme.split?.lowRank ? 'matrix' : kindOf(scheme).surveys(scheme);
}

/**
 * @param x [rows of the place, cols]; where `schemeSurveys` says matrix all rows
 * @param counts what a squared error in a column costs the output, [cols]
 */
export function surveyScheme(
  x: Float32Array,
  place: TilePlace,
  scheme: WeightScheme,
  inputs: InputStatistics,
  counts = inputs.meansquare,
): Survey {
  const surveys = schemeSurveys(scheme);
  if (!surveys) return {};
  const kind = kindOf(scheme);
  const cols = place.shape[1];
  const { rest, sparse } = takenApart(x, place, scheme, inputs, {}, counts);
  // Chosen once: column scales and books that are found without these values belong to the rest.
  let found: Survey = surveys === 'matrix' && sparse ? { sparse: sparse.col } : {};
  if (scheme.balance) found = { ...found, columnScale: sinqScales(rest, place.shape, { stored: 'f32' }).column };
  if (kind.surveys(scheme)) {
    const { columnScale } = found;
    const space = columnScale ? inSpaceOf(columnScale, inputs) : inputs;
    found = { ...found, ...kind.survey(divided(rest, cols, columnScale), place, scheme, space) };
  }
  const { lowRank } = scheme.split ?? {};
  if (!lowRank) return found;
  const quantized = dequantizeTile(encodeRows(x, place, scheme, inputs, found));
  const error = x.map((value, i) => value - quantized[i]!);
  const { rank, weighted } = lowRank;
  const { meansquare } = inputs;
  return {
    ...found,
    lowRank: lowRankOf(error, place.shape, { rank, ...(weighted && meansquare && { inputs: { meansquare } }) }),
  };
}

/**
 * Codes nearest to the rows of a matrix. x: [to - from, cols]
 * @throws NumericError for NaN and infinities, RecipeError for groups or statistics that do not fit
 */
export function encodeRows(
  x: Float32Array,
  place: TilePlace,
  scheme: WeightScheme,
  inputs: InputStatistics,
  survey: Survey = {},
): QuantizedTile {
  const { columnScale, lowRank } = survey;
  const space = columnScale ? inSpaceOf(columnScale, inputs) : inputs;
  const { rest, ...apart } = takenApart(x, place, scheme, space, survey);
  const tile = kindOf(scheme).quantize(divided(rest, place.shape[1], columnScale), place, scheme, space, survey);
  const rank = scheme.split?.lowRank?.rank ?? 0;
  return {
    ...tile,
    ...(columnScale && { columnScale }),
    ...apart,
    ...(lowRank && { lowRank: { a: lowRank.a.slice(place.from * rank, place.to * rank), b: lowRank.b } }),
  };
}

/** Statistics of an input that is multiplied by what the columns are divided by. */
export function inSpaceOf<T extends InputStatistics>(columnScale: Float32Array, inputs: T): T {
  const { meansquare, hessian } = inputs;
  return {
    ...inputs,
    ...(meansquare && { meansquare: meansquare.map((square, c) => square * columnScale[c]! ** 2) }),
    ...(hessian && { hessian: scaledHessian(hessian, columnScale) }),
  };
}

type Apart = Pick<QuantizedTile, 'sparse' | 'columns'> & { rest: Float32Array };

/**
 * @param inputs of columns as the survey divides them
 * @param survey of the scheme, where there is one: what a value is worth depends on the rows beside it otherwise
 * @param counts what a squared error in a column costs the output, [cols]
 */
export function takenApart(
  x: Float32Array,
  place: TilePlace,
  scheme: WeightScheme,
  inputs: InputStatistics,
  survey: Survey = {},
  counts = inputs.meansquare,
): Apart {
  const { sparse, columns } = scheme.split ?? {};
  if (!sparse && !columns) return { rest: x };
  const { name, shape } = place;
  const cols = shape[1];
  const wide = columns && outlierColumns(x, inputs.absmax, cols, columns.count, name);
  const narrow = withoutApart(x, cols, undefined, wide);
  const kept = sparse && sparseOf(narrow, place, scheme, inputs, survey, counts, sparsePerRow(sparse.share, cols));
  return { rest: withoutApart(narrow, cols, kept), ...(kept && { sparse: kept }), ...(wide && { columns: wide }) };
}

/** By what the survey has chosen for the matrix, or by the scores of these rows. */
function sparseOf(
  x: Float32Array,
  place: TilePlace,
  scheme: WeightScheme,
  inputs: InputStatistics,
  survey: Survey,
  counts: Float32Array | undefined,
  perRow: number,
): NonNullable<QuantizedTile['sparse']> {
  const { sparse } = survey;
  const places = sparse
    ? sparse.slice(valuesBefore(perRow, place.from), valuesBefore(perRow, place.to))
    : outlierPlaces(scoresOf(x, place, scheme, inputs, survey, counts), place, perRow);
  return outliersOf(x, places, place, perRow);
}

/**
 * What a value is worth keeping: its magnitude, or what the output loses while it stays. That is the error of its own rounding, or for
 * the extremes of a group by how much the errors of the others fall without it (leave one out: SpQR, arXiv 2306.03078, section 4.1).
 */
function scoresOf(
  x: Float32Array,
  place: TilePlace,
  scheme: WeightScheme,
  inputs: InputStatistics,
  given: Survey,
  counts: Float32Array | undefined,
): Float32Array {
  if (scheme.split!.sparse!.by === 'magnitude') return x.map(Math.abs);
  const { split: _, balance: __, ...plain } = scheme;
  const cols = place.shape[1];
  const kind = kindOf(plain);
  const own = divided(x, cols, given.columnScale);
  const whole = { name: place.name, shape: [x.length / cols, cols] as const, from: 0, to: x.length / cols };
  const errorsOf = (values: Float32Array): Float32Array => {
    const known = kind.surveys(plain) === undefined || given.limits || given.book;
    const survey = known ? given : kind.survey(values, whole, plain, inputs);
    const quantized = dequantizeTile(kind.quantize(values, whole, plain, inputs, survey));
    return values.map((value, i) => (value - quantized[i]!) ** 2 * (counts?.[i % cols] ?? 1));
  };
  const errors = errorsOf(own);
  const scores = errors.slice();
  const run = kind.run(plain);
  for (const sign of run > 1 ? [1, -1] : []) {
    const extremes = extremesOf(own, run, sign);
    const without = errorsOf(replaced(own, extremes));
    for (const at of extremes) {
      const start = at - (at % run);
      let gain = 0;
      for (let i = start; i < start + run; i++) gain += errors[i]! - (i === at ? 0 : without[i]!);
      scores[at] = Math.max(scores[at]!, gain);
    }
  }
  return scores;
}

/** Places of the largest values of each run, or of the smallest for sign -1. */
function extremesOf(x: Float32Array, run: number, sign: number): Int32Array {
  return Int32Array.from({ length: x.length / run }, (_, r) => {
    let most = r * run;
    for (let i = most + 1; i < (r + 1) * run; i++) if (sign * x[i]! > sign * x[most]!) most = i;
    return most;
  });
}

/** A copy in which these values are 0. */
function replaced(x: Float32Array, places: Int32Array): Float32Array {
  const copy = x.slice();
  for (const at of places) copy[at] = 0;
  return copy;
}

/** x / columnScale, [rows, cols]. */
export function divided(x: Float32Array, cols: number, columnScale?: Float32Array): Float32Array {
  return columnScale ? x.map((value, i) => value / columnScale[i % cols]!) : x;
}
