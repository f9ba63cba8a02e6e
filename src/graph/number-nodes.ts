/** Rounding to the dtypes and grids of quantization as plain ONNX operators, in f32 and bit by bit as src/numeric does it. */
import type { Minifloat } from '../numeric/minifloat.ts';
import { largestOf } from '../quantize/activations.ts';
import type { GraphBuilder, ValueName } from './builder.ts';
import { dataTypes } from './encode.ts';
import type { ElementType } from './ir.ts';

export function cast(b: GraphBuilder, x: ValueName, type: ElementType): ValueName {
  return b.node('Cast', [x], { attributes: { to: { int: dataTypes[type] } } });
}

/** x rounded to f16, as f32. */
export function roundToF16(b: GraphBuilder, x: ValueName): ValueName {
  return cast(b, cast(b, x, 'f16'), 'f32');
}

/** `scale`, and `instead` where it is 0. */
export function notZero(b: GraphBuilder, scale: ValueName, instead: number): ValueName {
  return b.node('Where', [b.node('Equal', [scale, b.float(0)]), b.float(instead), scale]);
}

/** The integer nearest to x in [low, high], ties to even. */
export function roundTo(b: GraphBuilder, x: ValueName, low: number, high: number): ValueName {
  return b.node('Clip', [b.node('Round', [x]), b.float(low), b.float(high)]);
}

/** Extremes over one axis, or over all, which stay as dimensions of 1. */
export function reduce(b: GraphBuilder, op: 'ReduceMin' | 'ReduceMax', x: ValueName, axis?: number): ValueName {
  return b.node(op, axis === undefined ? [x] : [x, b.ints(axis)], { attributes: { keepdims: { int: 1 } } });
}

/**
 * The nearest value of `format`, ties to even, large values saturating. The quantum of x is the power of two below |x|, which a
 * logarithm only guesses: it is set right by two comparisons.
 */
export function roundToMinifloat(b: GraphBuilder, x: ValueName, format: Minifloat): ValueName {
  const magnitude = b.node('Abs', [x]);
  const exponent = b.node('Floor', [b.mul(b.node('Log', [magnitude]), b.float(1 / Math.LN2))]);
  const guess = b.node('Pow', [b.float(2), exponent]);
  const below = b.node('Where', [b.node('Greater', [guess, magnitude]), b.mul(guess, b.float(0.5)), guess]);
  const twice = b.mul(below, b.float(2));
  const power = b.node('Where', [b.node('LessOrEqual', [twice, magnitude]), twice, below]);
  const smallest = b.float(2 ** (1 - format.bias));
  const quantum = b.mul(b.node('Max', [power, smallest]), b.float(2 ** -format.mantissa));
  const rounded = b.mul(b.node('Round', [b.node('Div', [x, quantum])]), quantum);
  const max = largestOf(format);
  return b.node('Clip', [rounded, b.float(-max), b.float(max)]);
}
