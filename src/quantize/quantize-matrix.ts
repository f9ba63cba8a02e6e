/**
 * Quantization of a matrix to an integer grid: round to nearest with the scheme's range and arithmetic.
 *   x_int = clamp(round(x / s) + z), x̂ = s (x_int - z)
 */
import { RecipeError } from '../errors.ts';
import { floatTypes } from '../numeric/float.ts';
import type { Grid, Levels, QuantizedTile } from '../quantized/types.ts';
import { completeArithmetic } from './arithmetic.ts';
import { checkFinite } from './check.ts';
import { quotients, type Run, roundToCodes, type Scratch, scratch } from './codes.ts';
import { runLength, sharedCount, sharingOf } from './granularity.ts';
import { integerGrid } from './grid/integer.ts';
import { GroupScaler, inComputeType } from './group-scaler.ts';
import { checkInputs } from './range/inputs.ts';
import { rangeOf } from './range/registry.ts';
import type { Limits, RangeContext, RangeInputs } from './range/types.ts';
import type { MatrixScheme } from './scheme.ts';

export { dequantizeTile } from './dequantize.ts';

/** Which rows of which matrix. */
export interface TilePlace {
  name: string;
  /** Of the whole matrix [out, in]. */
  shape: readonly [rows: number, cols: number];
  from: number;
  to: number;
  /** Limits of the whole tensor, from `surveyLimits`: needed by granularity tensor when the tile is not the whole matrix. */
  survey?: Limits;
}

/** The grid that a scheme's codes are on. */
export function gridOf(scheme: MatrixScheme): Extract<Grid, { kind: 'integer' }> {
  const { bits, signed } = integerGrid(scheme.bits, scheme.signed ?? scheme.symmetric);
  return { kind: 'integer', bits, signed };
}

/** Kind and storage of a scheme's zeros; undefined where there are none. */
export function zeroOf(scheme: MatrixScheme): { kind: 'integer' | 'float' | 'minimum'; stored: Levels['stored'] } | undefined {
  const kind = scheme.symmetric ? 'integer' : (scheme.zero ?? 'integer');
  if (scheme.symmetric && gridOf(scheme).signed) return undefined;
  return { kind, stored: kind === 'integer' ? { bits: scheme.bits } : scheme.scaleType };
}

/** What a scheme fixes for all groups; RecipeError when its parts contradict each other. */
export function rangeContext(scheme: MatrixScheme, inputs?: RangeInputs): RangeContext {
  const arithmetic = completeArithmetic(scheme.arithmetic);
  const { round, epsilon } = floatTypes[arithmetic.compute];
  if (scheme.symmetric && scheme.zero !== undefined) {
    throw new RecipeError({
      what: 'a symmetric scheme has no zero',
      value: scheme.zero,
      next: 'leave zero out, or set symmetric to false',
    });
  }
  return {
    grid: integerGrid(scheme.bits, scheme.signed ?? scheme.symmetric),
    symmetric: scheme.symmetric,
    zero: scheme.zero ?? 'integer',
    arithmetic,
    options: scheme.rangeOptions ?? {},
    ...(inputs && { inputs }),
    emptyGroup: scheme.emptyGroup ?? 'one',
    round,
    cast: floatTypes[scheme.scaleType].round,
    epsilon,
  };
}

/** The formula of the scheme's range, for plans and reports. */
export function describeRange(scheme: MatrixScheme): string {
  return rangeOf(scheme.range, scheme.symmetric).describe(rangeContext(scheme));
}

/** Limits over values of a whole tensor (or of one of its tiles: merge min and max), for granularity tensor. x: [rows, cols]. */
export function surveyLimits(x: Float32Array, scheme: MatrixScheme, inputs?: RangeInputs): Limits {
  if (x.length === 0) return { min: 0, max: 0 };
  return rangeOf(scheme.range, scheme.symmetric).limits(x, 0, x.length, rangeContext(scheme, inputs));
}

export interface RowOptions {
  /** For the ranges that `rangeNeeds` names. */
  inputs?: RangeInputs;
}

/**
 * Quantizes the rows [place.from, place.to) of a matrix.
 * @param x [to - from, cols]
 * @throws NumericError for NaN, Inf or a scale that overflows its dtype, RecipeError for groups or inputs that do not fit
 */
export function quantizeRows(
  x: Float32Array,
  place: TilePlace,
  scheme: MatrixScheme,
  { inputs }: RowOptions = {},
): QuantizedTile {
  const { name, from, to } = place;
  const [rows, cols] = place.shape;
  if (x.length !== (to - from) * cols) {
    throw new RecipeError({ what: 'the values do not fill the rows', where: name, value: x.length, limit: (to - from) * cols });
  }
  checkFinite(x, name, from, cols);
  if (inputs) checkInputs(inputs, scheme.granularity, cols, name);
  const context = rangeContext(scheme, inputs);
  const range = rangeOf(scheme.range, scheme.symmetric);
  const run = runLength(scheme.granularity, cols, name);
  const per = sharingOf(scheme.granularity);
  const shared = scheme.granularity === 'tensor' ? sharedTensorLimits(x, place, scheme, inputs) : undefined;

  const codes = new Uint8Array(x.length); // [to - from, cols]
  const count = sharedCount(per, { from, to, cols });
  const scales = new Float32Array(count);
  const zeros = new Float32Array(count);
  const group = new GroupScaler(range, context, scheme.scaleType);
  const quotient = scratch(context.arithmetic.compute, cols);
  const narrowed = new Float32Array(cols);

  for (let row = from, at = 0, level = 0; row < to; row++, at += cols) {
    const values = inComputeType(x.subarray(at, at + cols), context, narrowed, name);
    for (let start = 0; start < cols; start += run) {
      const end = start + run;
      if (!shared || level === 0) {
        const limits = shared ?? range.limits(values, start, end, context);
        group.set(limits, () => `${name}, row ${row}, columns ${start} to ${end - 1}`);
        scales[level] = group.stored;
        zeros[level] = group.zero;
        level++;
      }
      encodeRun(values, start, end, group.step, context, quotient, codes, at);
    }
  }

  const zero = zeroOf(scheme);
  return {
    name,
    shape: [rows, cols],
    from,
    to,
    grid: gridOf(scheme),
    codes,
    scale: { values: scales, stored: scheme.scaleType, per },
    ...(zero && { zero: { kind: zero.kind, levels: { values: zeros, stored: zero.stored, per } } }),
    arithmetic: context.arithmetic,
  };
}

function sharedTensorLimits(
  x: Float32Array,
  { name, shape, from, to, survey }: TilePlace,
  scheme: MatrixScheme,
  inputs?: RangeInputs,
): Limits {
  if (survey) return survey;
  if (from === 0 && to === shape[0]) return surveyLimits(x, scheme, inputs);
  throw new RecipeError({
    what: 'one scale per tensor needs limits of the whole tensor',
    where: name,
    next: 'survey it before its tiles',
  });
}

function encodeRun(
  values: Float32Array,
  start: number,
  end: number,
  run: Run,
  { grid, arithmetic }: RangeContext,
  quotient: Scratch,
  codes: Uint8Array,
  at: number,
): void {
  quotients(values, start, end, run, arithmetic, quotient);
  roundToCodes(quotient, start, end, run.after, grid, arithmetic.rounding, codes, at);
}
