/**
 * The floating-point types in which arithmetic is carried out. An operation "in bf16" is what torch does on a CPU: operands
 * are bf16 values, the operation is done in f32, its result is rounded to bf16. So `round(a / b)` is one operation.
 */
import { decodeBf16, encodeBf16, roundBf16 } from './bf16.ts';
import { decodeF16, encodeF16, roundF16 } from './f16.ts';

export interface FloatType {
  readonly bits: number;
  /** Largest finite value. */
  readonly max: number;
  /** Distance from 1 to the next value. */
  readonly epsilon: number;
  round(x: number): number;
  /** Rounds values[from, to) in place. */
  roundRun(values: Float32Array | Float64Array, from: number, to: number): void;
}

export const floatTypes = {
  f64: { bits: 64, max: Number.MAX_VALUE, epsilon: Number.EPSILON, round: (x) => x, roundRun: () => {} },
  f32: {
    bits: 32,
    max: 3.4028234663852886e38,
    epsilon: 2 ** -23,
    round: Math.fround,
    roundRun(values, from, to) {
      if (values instanceof Float32Array) return;
      for (let i = from; i < to; i++) values[i] = Math.fround(values[i]!);
    },
  },
  f16: {
    bits: 16,
    max: 65504,
    epsilon: 2 ** -10,
    round: roundF16,
    roundRun(values, from, to) {
      for (let i = from; i < to; i++) values[i] = decodeF16(encodeF16(values[i]!));
    },
  },
  bf16: {
    bits: 16,
    max: 3.3895313892515355e38,
    epsilon: 2 ** -7,
    round: roundBf16,
    roundRun(values, from, to) {
      for (let i = from; i < to; i++) values[i] = decodeBf16(encodeBf16(values[i]!));
    },
  },
} as const satisfies Record<string, FloatType>;

export type FloatName = keyof typeof floatTypes;
