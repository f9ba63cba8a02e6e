/**
 * The product of an affine input and affine weights as integers compute it:
 *   y_o = s_x s_o (Σ x w - z_o Σ x - z_x Σ w + n z_x z_o) + bias_o
 * with codes x, w over n inputs. The last two sums know nothing of x: where s_x and z_x are static they are one number an output, which
 * joins the bias. Symmetric weights lose the second and the fourth, symmetric inputs the third and the fourth.
 */
import { RecipeError } from '../errors.ts';

export interface AffineWeights {
  /** [out, in] */
  codes: Int8Array | Uint8Array | Int16Array;
  /** [out] */
  scale: Float32Array;
  /** [out]; absent: 0. */
  zero?: ArrayLike<number>;
}

export interface AffineInput {
  /** [in] */
  codes: ArrayLike<number>;
  scale: number;
  zero: number;
}

/** Exact integers, each [out] and not yet multiplied by scales. */
export interface AffineTerms {
  /** Σ x w */
  products: Float64Array;
  /** -z_o Σ x */
  inputs: Float64Array;
  /** -z_x Σ w */
  weights: Float64Array;
  /** n z_x z_o */
  zeros: Float64Array;
}

/** @throws RecipeError when shapes do not fit */
export function affineTerms(x: AffineInput, w: AffineWeights): AffineTerms {
  const n = x.codes.length;
  const out = w.scale.length;
  if (n === 0 || w.codes.length !== n * out || (w.zero && w.zero.length !== out)) {
    throw new RecipeError({ what: 'an input does not fit the weights it meets', value: n, limit: w.codes.length / out });
  }
  const sums = weightSums(w);
  let total = 0;
  for (let i = 0; i < n; i++) total += x.codes[i]!;
  const zero = (o: number) => w.zero?.[o] ?? 0;
  const each = (value: (o: number) => number) => Float64Array.from({ length: out }, (_, o) => value(o) + 0);
  return {
    products: each((o) => {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += x.codes[i]! * w.codes[o * n + i]!;
      return sum;
    }),
    inputs: each((o) => -zero(o) * total),
    weights: each((o) => -x.zero * sums[o]!),
    zeros: each((o) => n * x.zero * zero(o)),
  };
}

/** y [out] by the four terms. */
export function affineProduct(x: AffineInput, w: AffineWeights, bias?: Float32Array): Float64Array {
  const { products, inputs, weights, zeros } = affineTerms(x, w);
  return products.map((p, o) => x.scale * w.scale[o]! * (p + inputs[o]! + weights[o]! + zeros[o]!) + (bias?.[o] ?? 0));
}

/** The bias that holds the terms of the weights alone, [out]: y = s_x s_o (Σ x w - z_o Σ x) + this. */
export function foldedBias({ scale, zero }: Omit<AffineInput, 'codes'>, w: AffineWeights, bias?: Float32Array): Float64Array {
  const sums = weightSums(w);
  const n = w.codes.length / w.scale.length;
  return Float64Array.from(w.scale, (s, o) => scale * s * zero * (n * (w.zero?.[o] ?? 0) - sums[o]!) + (bias?.[o] ?? 0));
}

/** Σ w of each output, [out]. */
export function weightSums({ codes, scale }: AffineWeights): Float64Array {
  const n = codes.length / scale.length;
  return Float64Array.from(scale, (_, o) => {
    let sum = 0;
    for (let i = o * n; i < (o + 1) * n; i++) sum += codes[i]!;
    return sum;
  });
}
