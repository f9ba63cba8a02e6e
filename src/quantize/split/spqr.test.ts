/** SpQR as spqr_engine.py (543d10e) does it: outliers, codes, levels and quantized levels. */
import { describe, expect, it } from 'vitest';
import { loadKernels } from '../../kernels/kernels.ts';
import { Random } from '../../numeric/random.ts';
import { dequantizeTile } from '../dequantize.ts';
import { largestDifference, readMethodGolden } from '../method-golden.fixture.node.ts';
import { correlatedHessian } from '../rounding/correlated.fixture.ts';
import type { Factor } from '../rounding/factor.ts';
import { factorizeHere } from '../rounding/factorize.ts';
import { quantizeMatrix } from '../whole-matrix.ts';
import { type SpqrOptions, spqrBits, spqrRows } from './spqr.ts';
import { columnMoments, deadInputsLast, spqrThreshold } from './spqr-threshold.ts';

interface Case {
  case: string;
  bits: number;
  groupsize: number;
  outlier_relative_threshold: number | 'inf';
  permutation_order?: string;
  simplified_outliers?: boolean;
  qq_scale_bits?: number;
  qq_zero_bits?: number;
  qq_groupsize?: number;
  threshold: number | 'inf';
  outliers: number;
}

const kernels = await loadKernels();
const golden = readMethodGolden<Case>('sparse/spqr');
const w = golden.values('W');
const [rows, cols] = [48, 128];
const place = { name: 'w', shape: [rows, cols] as const, from: 0, to: rows };

/** (1 / n) sum of x x' */
function hessianOf(x: Float32Array, width: number): Float32Array {
  const sums = new Float64Array(width * width);
  const tokens = x.length / width;
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < width; i++) for (let j = 0; j < width; j++) sums[i * width + j]! += x[t * width + i]! * x[t * width + j]!;
  }
  return Float32Array.from(sums, (s) => s / tokens);
}

function factorOf(given: Float32Array, order: 'natural' | 'activation'): Factor {
  const { hessian, dead } = deadInputsLast(given);
  const factor = factorizeHere(kernels, hessian, { damp: 0.01, order, name: 'w' });
  if ('fallback' in factor) throw new Error(factor.fallback);
  return { ...factor, dead };
}

const hessian = hessianOf(golden.values('X'), cols);

describe.each(golden.cases)('SpQR 543d10e $case', (c) => {
  const factor = factorOf(hessian, c.permutation_order === 'act_order' ? 'activation' : 'natural');
  const relative = c.outlier_relative_threshold === 'inf' ? Number.POSITIVE_INFINITY : c.outlier_relative_threshold;
  const threshold = spqrThreshold(columnMoments(w, cols), rows, factor, relative);
  const options: SpqrOptions = {
    bits: c.bits,
    group: c.groupsize,
    threshold,
    simplified: c.simplified_outliers ?? false,
    ...(c.qq_scale_bits && { levels: { scaleBits: c.qq_scale_bits, zeroBits: c.qq_zero_bits!, rows: c.qq_groupsize! } }),
  };
  const { tile, scale, zero } = spqrRows(w, place, options, factor);
  const field = (name: string) => golden.values(`${c.case}.${name}`);
  /** From the golden's permuted order. */
  const own = (at: number): number => at - (at % cols) + factor.order[at % cols]!;

  it('order, threshold and outliers', () => {
    if (golden.has(`${c.case}.perm`)) expect([...factor.order]).toEqual([...field('perm')]);
    // Their Hessian is 2 / 4 of the sum over 256 tokens, four calls of add_batch.
    if (c.threshold !== 'inf') expect((threshold * 128) / c.threshold).toBeCloseTo(1, 5);
    const expected = [...field('outlier_index')].map(own).sort((a, b) => a - b);
    const found = [...(tile.sparse?.row ?? [])].map((row, i) => row * cols + tile.sparse!.col[i]!);
    expect(found).toHaveLength(c.outliers);
    expect(found).toEqual(expected);
  });

  it('codes', () => {
    const expected = new Uint8Array(w.length);
    for (const [at, code] of field('codes').entries()) expected[own(at)] = code;
    const different = [...tile.codes].filter((code, at) => code !== expected[at]).length;
    expect(different / w.length).toBeLessThanOrEqual(0.005);
  });

  it('levels', () => {
    const groups = cols / c.groupsize;
    if (!c.qq_scale_bits) {
      const worst = [
        largestDifference(tile.scale!.values, field('scales')),
        largestDifference(tile.zero!.levels.values, field('zeros')),
      ];
      expect(worst[0]).toBeLessThan(1e-6);
      expect(worst[1]).toBeLessThan(1e-4);
      return;
    }
    for (const [levels, name] of [
      [scale!, 'scale'],
      [zero!, 'zero'],
    ] as const) {
      const codes = field(name === 'zero' ? 'quant_layer_zeros' : 'quant_layer_scale'); // [groups, rows / 16, 16]
      const different = codes.reduce((sum, code, i) => {
        const [group, row] = [Math.floor(i / rows), i % rows];
        return sum + (levels.codes[row * groups + group] === code ? 0 : 1);
      }, 0);
      expect(different / codes.length).toBeLessThanOrEqual(0.005);
      for (const part of ['scale', 'zero'] as const) {
        const expected = field(`quant_layer_${name}_qq_${part}`); // [groups, rows / 16, 1]
        const found = expected.map((_, i) => levels[part][(i % 3) * groups + Math.floor(i / 3)]!);
        const worst = Math.max(...found.map((v, i) => Math.abs(v - expected[i]!) / Math.abs(expected[i]!)));
        expect(worst).toBeLessThan(1e-4);
      }
    }
  });

  it('dequantized weights', () => {
    const worst = largestDifference(dequantizeTile(tile), field('weight'));
    expect(worst).toBeLessThan(1e-5);
  });
});

describe('SpQR', () => {
  const random = new Random(21);
  const wide = { name: 'w', shape: [64, 256] as const, from: 0, to: 64 };
  const x = Float32Array.from({ length: 64 * 256 }, () => 0.05 * random.gaussian() * (random.uniform() < 0.01 ? 6 : 1));
  const h = correlatedHessian(256, 4);
  const factor = factorOf(h, 'natural');
  const threshold = spqrThreshold(columnMoments(x, 256), 64, factor, 0.2);
  const loss = (decoded: Float32Array): number => {
    let sum = 0;
    for (let row = 0; row < 64; row++) {
      const e = Float64Array.from({ length: 256 }, (_, c) => x[row * 256 + c]! - decoded[row * 256 + c]!);
      for (let i = 0; i < 256; i++) for (let j = 0; j < 256; j++) sum += e[i]! * h[i * 256 + j]! * e[j]!;
    }
    return sum;
  };

  it('loses less of the output with outliers than without, and than GPTQ of more bits a value', () => {
    const levels = { scaleBits: 3, zeroBits: 3 };
    const of = (t: number) => spqrRows(x, wide, { bits: 3, group: 16, threshold: t, levels, stored: 'f16' }, factor);
    const [apart, whole] = [of(threshold), of(Number.POSITIVE_INFINITY)];
    expect(whole.tile.sparse).toBeUndefined();
    expect(spqrBits(apart)).toBeLessThan(4.6);
    expect(spqrBits(whole)).toBeCloseTo(3 + 6 / 16 + (4 * 16) / 256, 6);
    const lost = loss(dequantizeTile(apart.tile));
    expect(lost).toBeLessThan(0.6 * loss(dequantizeTile(whole.tile)));
    const gptq = quantizeMatrix(
      x,
      [64, 256],
      {
        kind: 'integer',
        bits: 4,
        symmetric: false,
        granularity: { group: 64 },
        range: 'minmax',
        scaleType: 'f16',
        rounding: { kind: 'gptq', damp: 0.01, order: 'natural', groups: 'dynamic', block: 128, refine: 0 },
      },
      { statistics: { hessian: h }, kernels },
    );
    expect(lost).toBeLessThan(loss(gptq.dequantized()));
  });

  it('is the same however rows are cut, and over 128 columns', () => {
    for (const levels of [undefined, { scaleBits: 3, zeroBits: 3 }]) {
      const options = { bits: 3, group: 32, threshold, ...(levels && { levels }) };
      const whole = dequantizeTile(spqrRows(x, wide, options, factor).tile);
      const part = spqrRows(x.slice(32 * 256), { ...wide, from: 32 }, options, factor).tile;
      expect(dequantizeTile(part)).toEqual(whole.slice(32 * 256));
    }
  });

  it('is rounding to nearest with a diagonal Hessian', () => {
    const diagonal = new Float32Array(256 * 256);
    for (let i = 0; i < 256; i++) diagonal[i * 257] = 1;
    const { tile } = spqrRows(
      x,
      wide,
      { bits: 4, group: 32, threshold: Number.POSITIVE_INFINITY },
      factorOf(diagonal, 'natural'),
    );
    const nearest = quantizeMatrix(x, [64, 256], {
      kind: 'integer',
      bits: 4,
      symmetric: false,
      granularity: { group: 32 },
      range: 'minmax',
      zero: 'float',
      scaleType: 'f32',
      arithmetic: { compute: 'f32', zero: 'beforeRounding' },
    });
    expect([...tile.codes].filter((code, i) => code !== nearest.tile.codes[i]).length).toBeLessThan(3);
  });

  it('takes dead inputs, and a matrix of [768, 256] in a second or two', () => {
    const dead = h.slice();
    for (let i = 0; i < 256; i++) dead[7 * 256 + i] = dead[i * 256 + 7] = 0;
    const holed = factorOf(dead, 'activation');
    expect([...holed.order].at(-1)).toBe(7);
    const big = Float32Array.from({ length: 768 * 256 }, () => 0.05 * random.gaussian());
    const t = spqrThreshold(columnMoments(big, 256), 768, holed, 0.2);
    const start = performance.now();
    const { tile } = spqrRows(big, { ...wide, shape: [768, 256], to: 768 }, { bits: 3, group: 16, threshold: t }, holed);
    expect(performance.now() - start).toBeLessThan(10_000);
    const decoded = dequantizeTile(tile);
    expect(Array.from({ length: 768 }, (_, r) => Math.abs(decoded[r * 256 + 7]!)).every((v) => v < 0.05)).toBe(true);
  });

  it('refuses groups, tiles and factors that do not fit', () => {
    const of = (options: Partial<SpqrOptions>, from = 0) =>
      spqrRows(x.slice(from * 256), { ...wide, from }, { bits: 3, group: 16, threshold, ...options }, factor);
    expect(() => of({ group: 48 })).toThrow('groups of 48');
    expect(() => of({ levels: { scaleBits: 3, zeroBits: 3 } }, 8)).toThrow('share quantized levels');
    expect(() => spqrRows(w, place, { bits: 3, group: 16, threshold }, factor)).toThrow('another width');
    expect(() => spqrThreshold(columnMoments(x, 256), 64, factor, 0)).toThrow('relative threshold');
    expect(() => of({ bits: 9 })).toThrow('1..8');
    const huge = x.map((v) => v * 1e7);
    expect(() => spqrRows(huge, wide, { bits: 3, group: 16, threshold: 0, stored: 'f16' }, factor)).toThrow('overflows f16');
  });
});
