/**
 * HQQ (Badri and Shaji, Half-Quadratic Quantization, Mobius Labs 2023) as the package hqq does it: the scale spans a group, the zero
 * is a float that is moved to where a norm of the errors below 1 is least. No data.
 */
import { RecipeError } from '../errors.ts';
import { halfEven } from '../numeric/rounding.ts';
import type { QuantizedTile, Sharing } from '../quantized/types.ts';
import { checkFinite } from './check.ts';
import { sharedCount } from './granularity.ts';
import { integerGrid } from './grid/integer.ts';
import type { TilePlace } from './quantize-matrix.ts';
import {
  codeOf,
  improveZero,
  reachingStep,
  type ShrinkOptions,
  type Strided,
  shrinkDefaults,
  type ZeroedStep,
} from './range/half-quadratic.ts';
import { refineStep } from './refine-step.ts';
import { type StoredFloat, storedValue } from './stored-value.ts';

export interface HqqOptions {
  /** 1..8 */
  bits: number;
  /** Values that share a scale: consecutive in memory (axis 1), or of a column of the matrix reshaped to [group, n / group] (axis 0). */
  group: number;
  axis?: 0 | 1;
  /** Bound on the iterations (20); 0 rounds to nearest. */
  iterations?: number;
  /** p and beta (0.7, 10). */
  shrink?: Partial<ShrinkOptions>;
  /** The zero that iterations start from is rounded to an integer. */
  roundZero?: boolean;
  /** Ours: after the iterations scale and zero are refitted, where that lowers Σ |x - x̂|^p of a group. */
  refineScale?: boolean;
  /** How scales and zeros are stored (f32). */
  stored?: StoredFloat;
}

const ITERATIONS = 20;

/**
 * Σ |x - x̂| before each iteration, [iterations]: sums over tiles give those of the matrix, from which `hqqIterations` tells where
 * it stops. x: [n], whole groups
 */
export function hqqErrors(x: Float32Array, options: HqqOptions): Float64Array {
  return traced(x, options).errors;
}

/** Those errors, and the zeros after each iteration, [iterations + 1, groups]. */
function traced(x: Float32Array, options: HqqOptions): { errors: Float64Array; zeros: Float32Array } {
  const { most, groups, shrink, iterations } = prepared(x.length, options, 'matrix');
  const errors = new Float64Array(iterations);
  const zeros = new Float32Array((iterations + 1) * groups.length);
  for (const [index, group] of groups.entries()) {
    let step = startOf(x, group, most, options);
    zeros[index] = step.zero;
    for (let i = 0; i < iterations; i++) {
      const { error, zero } = improveZero(x, group, step, most, shrink);
      errors[i]! += error;
      zeros[(i + 1) * groups.length + index] = zero;
      step = { inverse: step.inverse, zero };
    }
  }
  return { errors, zeros };
}

/** How many iterations hqq does: up to and with the first that does not lower the mean error in f32. values: how many there are */
export function hqqIterations(errors: Float64Array, values: number): number {
  const means = Array.from(errors, (error) => Math.fround(error / values));
  const end = means.findIndex((mean, i) => i > 0 && !(mean < means[i - 1]!));
  return end < 0 ? errors.length : end + 1;
}

/**
 * Quantizes rows [place.from, place.to). `iterations` are all done: give what `hqqIterations` says of the whole matrix.
 * @param x [to - from, cols]
 * @throws NumericError for NaN, Inf or scales and zeros that overflow their dtype, RecipeError for groups that do not fit
 */
export function hqqRows(x: Float32Array, place: TilePlace, options: HqqOptions): QuantizedTile {
  const { most, shrink, iterations } = prepared(x.length, options, place.name);
  return encode(x, place, options, (start, group) => {
    let step = start;
    for (let i = 0; i < iterations; i++) step = { inverse: step.inverse, zero: improveZero(x, group, step, most, shrink).zero };
    return step;
  });
}

/** Codes by the step that `improved` makes of the first one of each group. */
function encode(
  x: Float32Array,
  place: TilePlace,
  options: HqqOptions,
  improved: (start: ZeroedStep, group: Strided, index: number) => ZeroedStep,
): QuantizedTile {
  const { name, shape, from, to } = place;
  const cols = shape[1];
  if (x.length !== (to - from) * cols) {
    throw new RecipeError({ what: 'the values do not fill the rows', where: name, value: x.length, limit: (to - from) * cols });
  }
  const per = sharingOf(options, place);
  checkFinite(x, name, from, cols);
  const { grid, most, groups, shrink } = prepared(x.length, options, name);
  const stored = options.stored ?? 'f32';
  const count = sharedCount(per, { from, to, cols });
  const scales = new Float32Array(count);
  const zeros = new Float32Array(count);
  const codes = new Uint8Array(x.length); // [to - from, cols]
  for (const [index, group] of groups.entries()) {
    let step = improved(startOf(x, group, most, options), group, index);
    if (options.refineScale) step = refineStep(x, group, step, most, shrink.norm);
    scales[index] = storedValue(stored, 1 / step.inverse, 'a scale', name);
    zeros[index] = storedValue(stored, step.zero, 'a float zero', name);
    // The inverse of a scale is what hqq computes codes with; a scale of 16 bits is another one.
    const inverse = stored === 'f32' ? step.inverse : Math.fround(1 / scales[index]!);
    for (let i = 0, at = group.from; i < group.count; i++, at += group.stride) {
      codes[at] = codeOf(x[at]!, inverse, zeros[index]!, most);
    }
  }
  return {
    name,
    shape,
    from,
    to,
    grid: { kind: 'integer', bits: grid.bits, signed: false },
    codes,
    scale: { values: scales, stored, per },
    zero: { kind: 'float', levels: { values: zeros, stored, per } },
    arithmetic: { compute: 'f32', divide: 'reciprocal', rounding: 'halfEven', scale: 'afterCast', zero: 'beforeRounding' },
  };
}

/** Quantizes a whole matrix as hqq does, with its rule of when to stop. w: [rows, cols]. Errors as `hqqRows`. */
export function hqqMatrix(
  w: Float32Array,
  shape: readonly [rows: number, cols: number],
  options: HqqOptions,
  name = 'matrix',
): QuantizedTile {
  const place = { name, shape, from: 0, to: shape[0] };
  sharingOf(options, place);
  checkFinite(w, name, 0, shape[1]);
  const { errors, zeros } = traced(w, options);
  const first = hqqIterations(errors, w.length) * (w.length / options.group);
  return encode(w, place, options, ({ inverse }, _, index) => ({ inverse, zero: zeros[first + index]! }));
}

function prepared(values: number, options: HqqOptions, where: string) {
  const { group, axis = 1, iterations = ITERATIONS } = options;
  const grid = integerGrid(options.bits, false);
  if (!Number.isInteger(group) || group < 1 || values % group !== 0) {
    throw new RecipeError({
      what: `${values} values do not split into groups`,
      where,
      value: group,
      next: 'choose another group size',
    });
  }
  if (!Number.isInteger(iterations) || iterations < 0) {
    throw new RecipeError({ what: 'not a number of iterations', where, value: iterations });
  }
  const count = values / group;
  const groups = Array.from(
    { length: count },
    (_, g): Strided => (axis === 1 ? { from: g * group, count: group, stride: 1 } : { from: g, count: group, stride: count }),
  );
  return { grid, most: 2 * grid.half - 1, groups, shrink: { ...shrinkDefaults, ...options.shrink }, iterations };
}

/** Whole groups of axis 1 may cross rows; those of axis 0 are rectangles only where they are whole columns. */
function sharingOf({ group, axis = 1 }: HqqOptions, { name, shape, from, to }: TilePlace): Sharing {
  const [rows, cols] = shape;
  if (axis === 0) {
    if (group === rows && from === 0 && to === rows) return { rows: 0, cols: 1 };
    throw new RecipeError({
      what: 'groups along axis 0 are whole columns only where a group has as many values as the matrix rows',
      where: name,
      value: group,
      limit: rows,
      next: 'use axis 1',
    });
  }
  if (cols % group === 0) return { rows: 1, cols: group };
  if ((from * cols) % group === 0 && (to * cols) % group === 0) return { flat: group };
  throw new RecipeError({
    what: `rows of ${cols} values do not split into groups of ${group}`,
    where: name,
    next: 'choose another group size',
  });
}

function startOf(x: Float32Array, group: Strided, most: number, { roundZero }: HqqOptions): ZeroedStep {
  const { inverse, zero } = reachingStep(x, group, most);
  return { inverse, zero: roundZero ? halfEven(zero) : zero };
}
