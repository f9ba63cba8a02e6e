/** What an accumulator starts with, how it adds, what it does with what it cannot hold. */
import { LimitError, NumericError, RecipeError } from '../../errors.ts';
import { floatTypes } from '../../numeric/index.ts';
import type { FloatArithmetic, IntegerArithmetic, IntegerCodes, MacArithmetic, MacLayer } from './types.ts';

export interface Accumulation {
  /** A[n] before the first product, [out]. */
  initial: Float64Array;
  product(weight: number, input: number): number;
  /** The sum of two values inside a cycle. */
  add(a: number, b: number): number;
  /** What an accumulator holds of a sum. */
  hold(sum: number): number;
  /** Of token t and output o, added to the finished sum: -z_o Σ x. */
  correction(token: number, output: number): number;
}

/** @throws RecipeError, NumericError for shapes, codes and values that do not belong to the arithmetic */
export function accumulationOf(layer: MacLayer, arithmetic: MacArithmetic): Accumulation {
  checkShapes(layer);
  return arithmetic.kind === 'integer' ? integers(layer, arithmetic) : floats(layer, arithmetic);
}

/** Least and greatest code. */
export function codeRange({ bits, signed }: IntegerCodes): readonly [least: number, most: number] {
  return signed ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
}

/**
 * Bias and the two terms of zero points that know nothing of the input, -z_x Σ w + n z_x z_o: what an accumulator is loaded with.
 * @returns [out], exact
 */
export function initialSums({ out, in: n, weights, bias, weightZero, inputZero = 0 }: MacLayer): Float64Array {
  const sums = rowSums(weights, out, n);
  return Float64Array.from({ length: out }, (_, o) => (bias?.[o] ?? 0) + inputZero * (n * (weightZero?.[o] ?? 0) - sums[o]!));
}

function integers(layer: MacLayer, arithmetic: IntegerArithmetic): Accumulation {
  const { accumulatorBits, overflow } = arithmetic;
  checkInteger(layer, arithmetic);
  const half = 2 ** (accumulatorBits - 1);
  const hold = {
    wrap: (x: number) => (x >= -half && x < half ? x : x - 2 * half * Math.floor((x + half) / (2 * half))),
    saturate: (x: number) => Math.max(-half, Math.min(half - 1, x)),
  }[overflow];
  const sums = rowSums(layer.inputs, layer.tokens, layer.in);
  return {
    initial: initialSums(layer),
    // No integer is -0.
    product: (weight, input) => weight * input + 0,
    add: (a, b) => a + b,
    hold,
    correction: (token, output) => -(layer.weightZero?.[output] ?? 0) * sums[token]! + 0,
  };
}

function floats(layer: MacLayer, { operands, accumulator }: FloatArithmetic): Accumulation {
  if (layer.weightZero || layer.inputZero) throw new RecipeError('zero points belong to integers');
  const { round: operand } = floatTypes[operands];
  const { round } = floatTypes[accumulator];
  for (const [name, values] of Object.entries({ weights: layer.weights, inputs: layer.inputs })) {
    for (let i = 0; i < values.length; i++) {
      if (Object.is(operand(values[i]!), values[i]!)) continue;
      throw new NumericError({ what: `not a value of ${operands}`, where: `${name}[${i}]`, value: values[i] });
    }
  }
  return {
    initial: Float64Array.from({ length: layer.out }, (_, o) => round(layer.bias?.[o] ?? 0)),
    product: (weight, input) => round(weight * input),
    add: (a, b) => round(a + b),
    hold: (sum) => sum,
    correction: () => 0,
  };
}

/** values [rows, cols] -> their sums, [rows] */
function rowSums(values: ArrayLike<number>, rows: number, cols: number): Float64Array {
  return Float64Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let i = row * cols; i < (row + 1) * cols; i++) sum += values[i]!;
    return sum;
  });
}

function checkShapes({ out, in: n, tokens, weights, inputs, bias, weightZero }: MacLayer): void {
  const lengths = [
    ['weights', weights.length, out * n],
    ['inputs', inputs.length, tokens * n],
    ['bias', bias?.length ?? out, out],
    ['weightZero', weightZero?.length ?? out, out],
  ] as const;
  const wrong = lengths.find(([, has, needs]) => has !== needs);
  if (wrong)
    throw new RecipeError({ what: 'not as many values as the layer has', where: wrong[0], value: wrong[1], limit: wrong[2] });
}

/** Doubles hold whole numbers to 2^53: no sum may reach that, or nothing here would be exact. */
function checkInteger(layer: MacLayer, { weights, inputs, accumulatorBits }: IntegerArithmetic): void {
  if (!Number.isInteger(accumulatorBits) || accumulatorBits < 2 || accumulatorBits > 52)
    throw new RecipeError({ what: 'no such accumulator', value: accumulatorBits, limit: '2 to 52 bits' });
  for (const [name, codes, kind] of [
    ['weights', layer.weights, weights],
    ['inputs', layer.inputs, inputs],
  ] as const) {
    if (!Number.isInteger(kind.bits) || kind.bits < 1 || kind.bits > 24)
      throw new RecipeError({ what: 'no such codes', where: name, value: kind.bits, limit: '1 to 24 bits' });
    const [least, most] = codeRange(kind);
    for (let i = 0; i < codes.length; i++) {
      const code = codes[i]!;
      if (Number.isInteger(code) && code >= least && code <= most) continue;
      throw new NumericError({ what: 'not such a code', where: `${name}[${i}]`, value: code, limit: [least, most] });
    }
  }
  const extremes = [...Array.from(layer.bias ?? []), ...Array.from(layer.weightZero ?? []), layer.inputZero ?? 0];
  const odd = extremes.find((value) => !Number.isInteger(value));
  if (odd !== undefined) throw new NumericError({ what: 'biases and zero points of integers are whole numbers', value: odd });
  const bound =
    layer.in * (2 ** weights.bits + magnitude(layer.weightZero)) * (2 ** inputs.bits + Math.abs(layer.inputZero ?? 0));
  const largest = 2 * (bound + magnitude(layer.bias));
  if (largest >= 2 ** 53) throw new LimitError({ what: 'sums that doubles do not hold exactly', value: largest, limit: 2 ** 53 });
}

function magnitude(values: ArrayLike<number> | undefined): number {
  return Array.from(values ?? []).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}
