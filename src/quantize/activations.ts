/**
 * Scale and zero point of a linear's input. Formulas are compressed-tensors': symmetric s = absmax / (2^(b-1) - 1/2), else
 * s = (max - min) / (2^b - 1) with 0 inside, z = round(-2^(b-1) - min / s); f32, ε of f32 where all values are 0. Minifloats:
 * s = absmax / largest value of the format.
 */
import { NumericError, RecipeError } from '../errors.ts';
import { floatTypes } from '../numeric/float.ts';
import { type Minifloat, minifloat, minifloatValues } from '../numeric/minifloat.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { integerGrid } from './grid/integer.ts';
import { inputObserver } from './observer/input.ts';
import type { Observer } from './observer/types.ts';
import { rangeContext } from './quantize-matrix.ts';
import { rangeOf, scaleOf } from './range/registry.ts';
import type { Limits } from './range/types.ts';
import { zeroPoint } from './range/zero-point.ts';
import type { InputScheme } from './scheme.ts';

/** Largest finite value of a minifloat format. */
export function largestOf(format: Minifloat): number {
  return minifloatValues(format).reduce((most, v) => (Number.isFinite(v) && v > most ? v : most), 0);
}

/** The dtypes in which containers store the scale of a static input. */
export type InputScaleType = 'f32' | 'f16' | 'bf16';

/**
 * What a static scheme's range makes of its values: x̂ = s (c - z).
 * @param type the dtype that scales are rounded to; zero points are those of the rounded scale
 * @returns one value for a tensor, [in] for channels, [in / group] for groups
 * @throws RecipeError for a scheme without a range, NumericError for a scale that overflows its dtype
 */
export function staticLevels(
  scheme: ActivationScheme,
  type: InputScaleType = 'f32',
): { scale: Float32Array; zero: Float32Array } {
  const { range, bits, symmetric, float, levels } = scheme;
  if (levels) {
    const scale = Float32Array.from(levels.scale);
    return { scale, zero: levels.zero ? Float32Array.from(levels.zero) : new Float32Array(scale.length) };
  }
  if (!range || range.min.length === 0 || range.min.length !== range.max.length) {
    throw new RecipeError({
      what: 'static scales of an input have to be known before the model runs',
      value: range && `${range.min.length} minima and ${range.max.length} maxima`,
      next: 'give the scheme a range, or quantize inputs dynamically',
    });
  }
  const limits = range.min.map((min, i): Limits => ({ min, max: range.max[i]! }));
  const wrong = limits.find(({ min, max }) => !(Number.isFinite(min) && Number.isFinite(max) && min <= max));
  if (wrong) throw new RecipeError({ what: 'not a range of a static input', value: wrong });
  const zero = new Float32Array(limits.length);
  if (float !== undefined) {
    const most = largestOf(minifloat(float));
    return { scale: Float32Array.from(limits, ({ min, max }) => cast(Math.max(max, -min, 0) / most, type)), zero };
  }
  const name = symmetric ? 'absmax-half' : 'minmax';
  const context = rangeContext({
    kind: 'integer',
    bits,
    symmetric,
    signed: true,
    granularity: 'tensor',
    range: name,
    scaleType: 'f32',
    emptyGroup: 'epsilon',
    arithmetic: { compute: 'f32', zero: 'beforeRounding' },
  });
  const found = limits.map((one) => scaleOf(rangeOf(name, symmetric), one, context));
  const scale = Float32Array.from(found, (one) => cast(one.scale, type));
  for (const [i, one] of found.entries())
    zero[i] = symmetric || one.scale === scale[i] ? one.zero : zeroPoint(limits[i]!, scale[i]!, context);
  return { scale, zero };
}

/** A scale in the dtype that it is stored in; ε of the dtype where nothing is left of it. */
function cast(scale: number, type: InputScaleType): number {
  const { round, epsilon } = floatTypes[type];
  const stored = round(scale);
  if (Number.isFinite(stored)) return stored || epsilon;
  throw new NumericError({
    what: `the scale of a static input overflows ${type}`,
    value: scale,
    next: 'use --to fewbits, whose scales of inputs are f32',
  });
}

/** How many scales a static scheme has for an input of `width` values. */
export function inputLevels({ per }: Pick<ActivationScheme, 'per'>, width: number): number {
  return typeof per === 'object' ? width / per.group : per === 'channel' ? width : 1;
}

type Refuse = (what: string, value?: unknown, next?: string) => never;

const refusing =
  (where: string): Refuse =>
  (what, value, next) => {
    throw new RecipeError({ what, where, ...(value !== undefined && { value }), ...(next && { next }) });
  };

/** @throws RecipeError for a scheme that no pass over a graph can carry out */
export function checkActivations(scheme: ActivationScheme, where: string, width?: number): void {
  checkSharing(scheme, where, width);
  const { dynamic, range, levels, per } = scheme;
  const refuse: Refuse = refusing(where);
  if (dynamic) {
    if (range || levels) refuse('a dynamic scheme has no range');
    return;
  }
  const { scale } = staticLevels(scheme);
  const expected = per === 'tensor' || width !== undefined ? inputLevels(scheme, width ?? 1) : scale.length;
  if (scale.length !== expected)
    refuse('a static range does not fit the input of a linear', scale.length, `it needs ${expected}`);
}

/** Observers whose limits of a channel or a group do not need a histogram of it: those that torch and ONNX Runtime have by channel. */
const byChannel: readonly (string | undefined)[] = ['minmax', 'moving-average', undefined];

/** What a recipe says of an input, before anything is known of its values. @throws RecipeError */
export function checkInput(input: InputScheme, where: string, width: number): void {
  checkSharing(input, where, width);
  const { dynamic, observer, observerOptions, per } = input;
  const refuse: Refuse = refusing(where);
  if (dynamic) {
    if (observer ?? observerOptions)
      refuse(
        'scales of dynamic inputs come from the values themselves: there is nothing to observe',
        observer,
        'say dynamic: false',
      );
    return;
  }
  if (per !== 'tensor' && !byChannel.includes(observer))
    refuse('this observer watches whole tensors', observer, 'say per: tensor, or choose minmax or moving-average');
  inputObserver(input, width);
}

/** All that does not depend on the values. */
function checkSharing(scheme: ActivationScheme, where: string, width?: number): void {
  const { bits, symmetric, dynamic, per, float, threshold } = scheme;
  const refuse: Refuse = refusing(where);
  if (float === undefined) integerGrid(bits, true);
  else if (minifloat(float).bits !== bits) refuse(`inputs in ${float} have ${minifloat(float).bits} bits`, bits);
  if (float !== undefined && !symmetric) refuse('minifloats have no zero point', symmetric);
  const group = typeof per === 'object' ? per.group : undefined;
  if (group !== undefined && (!Number.isInteger(group) || group < 1 || (width !== undefined && width % group !== 0)))
    refuse('groups do not fill the input of a linear', group);
  if (threshold !== undefined && !(dynamic && per === 'token' && threshold > 0))
    refuse('columns of outliers are found while the model runs, beside a scale for each token', threshold);
  if (dynamic) {
    if (per === 'channel')
      refuse(
        'scales per channel of an input have to be known before the model runs',
        undefined,
        'quantize inputs dynamically, per token, tensor or group, or give a static range',
      );
  } else if (per === 'token') refuse('a static scheme knows no tokens', undefined, 'use tensor, channel or group');
}

type StaticBase = Pick<ActivationScheme, 'bits' | 'symmetric' | 'float'> & { per: Exclude<ActivationScheme['per'], 'token'> };

/**
 * A static scheme from the extremes of each input channel.
 * @param limits [in] each: `min` and `max` of the statistics of a linear
 */
export function staticActivations(base: StaticBase, limits: { min: Float32Array; max: Float32Array }): ActivationScheme {
  const width = limits.min.length;
  const run = base.per === 'tensor' ? width : base.per === 'channel' ? 1 : base.per.group;
  if (limits.max.length !== width || width === 0 || width % run !== 0) {
    throw new RecipeError({ what: 'extremes of channels do not fit the scheme', value: [width, limits.max.length], limit: run });
  }
  const merged = (values: Float32Array, pick: (a: number, b: number) => number) =>
    Array.from({ length: width / run }, (_, g) => values.subarray(g * run, (g + 1) * run).reduce((a, b) => pick(a, b)));
  const range = { min: merged(limits.min, Math.min), max: merged(limits.max, Math.max) };
  return { ...base, dynamic: false, range };
}

/** A static scheme per tensor from what an observer saw. @throws NumericError before its first value */
export function observedActivations(base: Omit<StaticBase, 'per'>, observer: Observer): ActivationScheme {
  const { min, max } = observer.limits();
  return { ...base, dynamic: false, per: 'tensor', range: { min: [min], max: [max] } };
}
