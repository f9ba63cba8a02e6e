import { floatTypes } from '../../numeric/float.ts';
import type { LevelForm, TileForm } from '../../quantized/form.ts';
import { completeArithmetic } from '../arithmetic.ts';
import { type NestedIntegerScheme, quantizeNestedRows } from '../grid/nested-integer.ts';
import { gridOf, quantizeRows, surveyLimits, zeroOf } from '../quantize-matrix.ts';
import { rangeInputs } from '../range/inputs.ts';
import { rangeNeeds } from '../range/registry.ts';
import { clippingRanges, type IntegerScheme } from '../scheme.ts';
import type { InputStatistics, Kind } from './types.ts';

/** Rounding to nearest moves a value by at most half a step; float arithmetic adds its own rounding to that. */
export const HALF_STEP = 0.501;

export const integer: Kind<IntegerScheme> = {
  needs: ({ range }) => rangeNeeds(range),
  form: integerForm,
  run: ({ granularity }) => (typeof granularity === 'object' ? granularity.group : 1),
  surveys({ granularity, range }) {
    if (granularity !== 'tensor') return undefined;
    return (clippingRanges as readonly string[]).includes(range) ? 'matrix' : 'limits';
  },
  survey: (x, { shape }, scheme, inputs) => ({ limits: surveyLimits(x, scheme, rangesOf(scheme, shape[1], inputs)) }),
  quantize(x, place, scheme, inputs, { limits }) {
    const options = { inputs: rangesOf(scheme, place.shape[1], inputs) };
    if (scheme.nested) return quantizeNestedRows(x, place, scheme as NestedIntegerScheme, options);
    return quantizeRows(x, { ...place, ...(limits && { survey: limits }) }, scheme, options);
  },
  /**
   * Narrow arithmetic rounds the value, the quotient and the sum with the zero point; a scale used before it is cast differs from the
   * stored one.
   */
  stepLimit({ arithmetic, scaleType, bits, nested }) {
    // A scale that is rounded to a multiple may leave values outside.
    if (nested) return undefined;
    const { compute, scale } = completeArithmetic(arithmetic);
    const narrow = compute === 'f16' || compute === 'bf16' ? (3 * floatTypes[compute].epsilon) / 2 : 0;
    const cast = scale === 'beforeCast' ? floatTypes[scaleType].epsilon / 2 : 0;
    return HALF_STEP + 2 ** bits * (narrow + cast);
  },
};

/** What the range looks at of the input. */
export function rangesOf({ range, granularity }: IntegerScheme, cols: number, inputs: InputStatistics) {
  return rangeInputs(rangeNeeds(range), granularity, cols, inputs);
}

/** How integers lie in fields. */
export function integerForm(scheme: IntegerScheme): TileForm {
  const { granularity, rounding, nested } = scheme;
  const zero = zeroOf(scheme);
  const per = {
    group: typeof granularity === 'object' ? granularity.group : 0,
    ...(granularity === 'tensor' && { wholeTensor: true }),
  };
  const order = rounding?.order === 'activation' && rounding.groups === 'dynamic' && per.group > 0;
  return {
    grid: gridOf(scheme),
    ...(order && { order }),
    scale: nested
      ? { stored: { bits: nested.bits }, ...per, parent: { stored: scheme.scaleType, per: nested.per } }
      : { stored: scheme.scaleType, ...per },
    ...(zero && { zero: { kind: zero.kind, stored: zero.stored as LevelForm['stored'], ...per } }),
  };
}
