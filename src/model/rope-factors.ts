import { llama3Factors } from './rope.ts';
import type { Rope, RopeScaling } from './types.ts';

/** Every published model has these; the factor and the original context differ. */
const LOW_FREQUENCY = 1;
const HIGH_FREQUENCY = 4;
const MAX_CONTEXT = 2 ** 24;

/**
 * The Llama 3 scaling whose factors are exactly these f32 numbers, or undefined: GGUF files hold the factors, configurations the
 * parameters. @param factors [dims / 2]
 */
export function llama3ScalingOf(rope: Rope, factors: Float32Array): Extract<RopeScaling, { kind: 'llama3' }> | undefined {
  const factor = factors.reduce((a, b) => Math.max(a, b), 1);
  for (let originalContext = 16; originalContext <= MAX_CONTEXT; originalContext *= 2) {
    const scaling = {
      kind: 'llama3',
      factor,
      lowFrequency: LOW_FREQUENCY,
      highFrequency: HIGH_FREQUENCY,
      originalContext,
    } as const;
    const expected = Float32Array.from(llama3Factors(rope, scaling));
    if (expected.length === factors.length && expected.every((value, i) => value === factors[i])) return scaling;
  }
  return undefined;
}
