/** Rotary frequencies in f64, as transformers' modeling_rope_utils.py defines them. */
import { ModelError } from '../errors.ts';
import type { Rope, RopeScaling } from './types.ts';

export interface Frequencies {
  /** [dims / 2]: angle a position, in radians. */
  readonly inverse: Float64Array;
  /** Factor of cos and sin. */
  readonly scale: number;
}

/**
 * @param length tokens in the whole sequence; only the dynamic kind depends on it.
 * @param factors values of the tensor that `{kind: 'tensor'}` names.
 */
export function ropeFrequencies(rope: Rope, length: number, factors?: Float32Array): Frequencies {
  const { scaling } = rope;
  switch (scaling.kind) {
    case 'none':
      return { inverse: unscaled(rope), scale: 1 };
    case 'linear':
      return { inverse: unscaled(rope).map((f) => f / scaling.factor), scale: 1 };
    case 'dynamic':
      return { inverse: unscaled({ ...rope, base: dynamicBase(rope, scaling, length) }), scale: 1 };
    case 'llama3': {
      const divide = llama3Factors(rope, scaling);
      return { inverse: unscaled(rope).map((f, i) => f / divide[i]!), scale: 1 };
    }
    case 'yarn':
      return { inverse: yarn(rope, scaling), scale: scaling.attentionFactor ?? yarnScale(scaling.factor) };
    case 'tensor': {
      if (factors?.length !== rope.dims / 2)
        throw new ModelError({
          what: 'rope factors have the wrong length',
          where: scaling.name,
          value: factors?.length,
          limit: rope.dims / 2,
        });
      return { inverse: unscaled(rope).map((f, i) => f / factors[i]!), scale: 1 };
    }
  }
}

/** What a GGUF file of this model holds as 'rope_freqs.weight' [dims / 2], or undefined when it holds none. */
export function ggufRopeFactors({ rope }: { rope: Rope }): Float32Array | undefined {
  return rope.scaling.kind === 'llama3' ? Float32Array.from(llama3Factors(rope, rope.scaling)) : undefined;
}

function unscaled({ dims, base }: Rope): Float64Array {
  return Float64Array.from({ length: dims / 2 }, (_, i) => base ** ((-2 * i) / dims));
}

type Scaling<K extends RopeScaling['kind']> = Extract<RopeScaling, { kind: K }>;

/** NTK by length: past the original context the base grows so that the slowest frequency spans the whole sequence. */
function dynamicBase({ base, dims }: Rope, { factor, originalContext }: Scaling<'dynamic'>, length: number): number {
  const stretch = (factor * Math.max(length, originalContext)) / originalContext - (factor - 1);
  return base * stretch ** (dims / (dims - 2));
}

/** Slow waves are divided by the factor, fast ones kept, those between smoothed. [dims / 2] divisors. */
export function llama3Factors(
  rope: Rope,
  { factor, lowFrequency, highFrequency, originalContext }: Scaling<'llama3'>,
): Float64Array {
  return unscaled(rope).map((frequency) => {
    const turns = (originalContext * frequency) / (2 * Math.PI);
    if (turns < lowFrequency) return factor;
    if (turns > highFrequency) return 1;
    const smooth = (turns - lowFrequency) / (highFrequency - lowFrequency);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** A ramp over the dimensions between interpolation (slow) and extrapolation (fast). */
function yarn(rope: Rope, { factor, originalContext, betaFast, betaSlow, truncate }: Scaling<'yarn'>): Float64Array {
  const { dims, base } = rope;
  const dimensionOf = (turns: number) => (dims * Math.log(originalContext / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const whole = (round: (x: number) => number, x: number) => (truncate ? round(x) : x);
  const low = Math.max(whole(Math.floor, dimensionOf(betaFast)), 0);
  const high = Math.min(whole(Math.ceil, dimensionOf(betaSlow)), dims - 1);
  // The reference avoids a division by zero in the same way.
  const span = high === low ? 0.001 : high - low;
  return unscaled(rope).map((frequency, i) => {
    const ramp = Math.min(Math.max((i - low) / span, 0), 1);
    return (frequency / factor) * ramp + frequency * (1 - ramp);
  });
}

/** YaRN's factor of cos and sin. */
export function yarnScale(factor: number, mscale = 1): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}
