import { describe, expect, it } from 'vitest';
import { RecipeError } from '../errors.ts';
import { Random } from '../numeric/random.ts';
import { type AffineInput, type AffineWeights, affineProduct, affineTerms, foldedBias } from './affine-product.ts';

const [n, out] = [37, 9];
const random = new Random(2);
const integer = (low: number, high: number) => low + Math.floor(random.uniform() * (high - low + 1));
const w = {
  codes: Int8Array.from({ length: n * out }, () => integer(-128, 127)),
  scale: Float32Array.from({ length: out }, () => random.uniform() + 0.1),
  zero: Float32Array.from({ length: out }, () => integer(-30, 30)),
} satisfies AffineWeights;
const x: AffineInput = { codes: Array.from({ length: n }, () => integer(0, 255)), scale: 0.03125, zero: 117 };
const bias = Float32Array.from({ length: out }, () => random.gaussian());

/** Σ s_x (x - z_x) s_o (w - z_o) + bias, value by value. */
function direct(x: AffineInput, w: AffineWeights, bias: Float32Array): Float64Array {
  return Float64Array.from(w.scale, (s, o) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += x.scale * (x.codes[i]! - x.zero) * s * (w.codes[o * n + i]! - (w.zero?.[o] ?? 0));
    return sum + bias[o]!;
  });
}

describe('the affine product', () => {
  it.each([
    ['both with zeros', x, w, [1, 1, 1, 1]],
    ['symmetric inputs', { ...x, zero: 0 }, w, [1, 1, 0, 0]],
    ['symmetric weights', x, { codes: w.codes, scale: w.scale }, [1, 0, 1, 0]],
    ['both symmetric', { ...x, zero: 0 }, { codes: w.codes, scale: w.scale }, [1, 0, 0, 0]],
  ] as const)('%s: four terms are the product, and the bias may hold two of them', (_, input, weights, present) => {
    const expected = direct(input, weights, bias);
    const close = (found: Float64Array) => {
      for (const [o, v] of found.entries()) expect(Math.abs(v - expected[o]!)).toBeLessThan(1e-9);
    };
    close(affineProduct(input, weights, bias));
    const terms = affineTerms(input, weights);
    expect(Object.values(terms).map((term: Float64Array) => Number(term.some((v) => v !== 0)))).toEqual(present);
    const folded = foldedBias(input, weights, bias);
    close(folded.map((b, o) => input.scale * weights.scale[o]! * (terms.products[o]! + terms.inputs[o]!) + b));
  });

  it('names shapes that do not fit', () => {
    expect(() => affineTerms({ ...x, codes: [1] }, w)).toThrow(RecipeError);
    expect(() => affineTerms(x, { ...w, zero: [1] })).toThrow('does not fit');
  });
});
