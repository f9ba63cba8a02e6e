/** LLM.int8() as bitsandbytes 0.50.2 computes it: codes, scales, outlier columns and integer products; f16 outputs. */
import { describe, expect, it } from 'vitest';
import { Random } from '../../numeric/random.ts';
import { dequantizeTile } from '../dequantize.ts';
import { readMethodGolden } from '../method-golden.fixture.node.ts';
import { int8Rows, int8Tile, llmInt8Linear } from './llm-int8.ts';

const golden = readMethodGolden<{ case: string; threshold: number }>('llm_int8/linear');
const { values: x } = golden.tensor('x');
const { values: w } = golden.tensor('W');
const bias = golden.values('bias');
const cols = 128;
const weight = int8Rows(w, cols);

/** In units of the last place of f16 at the larger of both. */
function ulps(a: number, b: number): number {
  const size = Math.max(Math.abs(a), Math.abs(b), 2 ** -14);
  return Math.abs(a - b) / 2 ** (Math.floor(Math.log2(size)) - 10);
}

const worst = (a: Float32Array, b: Float32Array): number => a.reduce((most, v, i) => Math.max(most, ulps(v, b[i]!)), 0);

describe('bitsandbytes 0.50.2', () => {
  it('weight rows: CB, SCB', () => {
    expect(weight.codes).toEqual(Int8Array.from(golden.values('CB')));
    expect(weight.absmax).toEqual(golden.values('SCB'));
  });

  it.each(golden.cases)('Linear8bitLt $case', (c) => {
    const plain = llmInt8Linear(x, weight, cols, { threshold: c.threshold });
    const biased = llmInt8Linear(x, weight, cols, { threshold: c.threshold, bias });
    const field = (name: string) => golden.values(`${c.case}.${name}`);
    expect(plain.codes).toEqual(Int8Array.from(field('CA')));
    expect(plain.absmax).toEqual(field('SCA'));
    expect([...plain.outlierColumns]).toEqual(golden.has(`${c.case}.outlier_cols`) ? [...field('outlier_cols')] : []);
    expect(plain.product).toEqual(Int32Array.from(field('acc')));
    const differences = {
      scaled: worst(plain.scaled, field('scaled')),
      scaledBias: worst(biased.scaled, field('scaled_bias')),
      mixed: worst(plain.output, field('mixed')),
      mixedBias: worst(biased.output, field('mixed_bias')),
      layer: worst(biased.output, field('Linear8bitLt')),
    };
    for (const difference of Object.values(differences)) expect(difference).toBeLessThanOrEqual(2);
  });
});

describe('LLM.int8()', () => {
  const reference = golden.values('float_reference');
  const mse = (y: Float32Array): number => y.reduce((sum, v, i) => sum + (v - reference[i]!) ** 2, 0) / y.length;

  it('errs less with outlier columns apart than without, and less again with their weights in 16 bits', () => {
    const of = (threshold: number, weight16?: Float32Array) =>
      mse(llmInt8Linear(x, weight, cols, { threshold, bias, ...(weight16 && { weight16 }) }).output);
    expect(of(6)).toBeLessThan(0.5 * of(0));
    expect(of(6, w)).toBeLessThan(of(6));
  });

  it('is a tile whose rows are half a step from the weight', () => {
    const tile = int8Tile(w, { name: 'w', shape: [96, cols], from: 0, to: 96 });
    const decoded = dequantizeTile(tile);
    for (const [i, value] of w.entries()) {
      expect(Math.abs(value - decoded[i]!)).toBeLessThanOrEqual(0.5001 * tile.scale!.values[Math.floor(i / cols)]!);
    }
    expect([...tile.codes].every((code) => code >= 1 && code <= 255)).toBe(true);
    const part = int8Tile(w.slice(10 * cols, 20 * cols), { name: 'w', shape: [96, cols], from: 10, to: 20 });
    expect(dequantizeTile(part)).toEqual(decoded.slice(10 * cols, 20 * cols));
  });

  it('is exact where codes are the values', () => {
    const random = new Random(5);
    const whole = (n: number) =>
      Float32Array.from({ length: n * 32 }, (_, i) => (i % 32 === 0 ? 127 : random.integer(255) - 127));
    const [a, b] = [whole(3), whole(5)];
    const y = llmInt8Linear(a, int8Rows(b, 32), 32, { threshold: 0 });
    const exact = Array.from({ length: 15 }, (_, i) =>
      Array.from({ length: 32 }, (_, c) => a[Math.floor(i / 5) * 32 + c]! * b[(i % 5) * 32 + c]!).reduce((s, v) => s + v, 0),
    );
    expect([...y.product]).toEqual(exact);
  });

  it('refuses NaN and rows that are not whole', () => {
    expect(() => int8Rows(Float32Array.of(1, Number.NaN), 2)).toThrow('NaN');
    expect(() => llmInt8Linear(Float32Array.of(1, Number.POSITIVE_INFINITY), weight, 2, { threshold: 6 })).toThrow('infinite');
    expect(() => int8Rows(x, 127)).toThrow('whole rows');
  });
});
