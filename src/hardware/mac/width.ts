/** How wide an accumulator must be, so that no initial value, partial sum or result overflows in any order of addition. */
import { codeRange, initialSums } from './accumulate.ts';
import type { IntegerArithmetic, MacLayer, MacRun } from './types.ts';

type Codes = Pick<IntegerArithmetic, 'weights' | 'inputs'>;

export interface AccumulatorWidths {
  /** For any weights and inputs of these types: b_w + b_x + log2(n) and a little, with the initial values at hand. */
  worstCase: number;
  /** For these weights and any inputs. */
  weights: number;
  /** For what this run held. */
  data?: number;
}

/** Bits of the smallest two's complement number that holds all of [least, most]. */
export function neededBits(least: number, most: number): number {
  let bits = 1;
  while (least < -(2 ** (bits - 1)) || most > 2 ** (bits - 1) - 1) bits++;
  return bits;
}

export function accumulatorWidths(layer: MacLayer, codes: Codes, run?: Pick<MacRun, 'range'>): AccumulatorWidths {
  const initial = initialSums(layer);
  const lowest = initial.reduce((least, one) => Math.min(least, one));
  const highest = initial.reduce((most, one) => Math.max(most, one));
  const [w, x] = [codeRange(codes.weights), codeRange(codes.inputs)];
  const corners = [w[0] * x[0], w[0] * x[1], w[1] * x[0], w[1] * x[1]];
  const worst = [lowest + layer.in * Math.min(0, ...corners), highest + layer.in * Math.max(0, ...corners)] as const;
  let [least, most] = [lowest, highest];
  for (let o = 0; o < layer.out; o++) {
    let [low, high] = [initial[o]!, initial[o]!];
    for (let i = 0; i < layer.in; i++) {
      const weight = layer.weights[o * layer.in + i]!;
      low += Math.min(weight * x[0], weight * x[1]);
      high += Math.max(weight * x[0], weight * x[1]);
    }
    least = Math.min(least, low);
    most = Math.max(most, high);
  }
  return {
    worstCase: neededBits(...worst),
    weights: neededBits(least, most),
    ...(run && { data: neededBits(...run.range) }),
  };
}
