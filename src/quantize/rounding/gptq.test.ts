import { describe, expect, it } from 'vitest';
import { NumericError, RecipeError } from '../../errors.ts';
import { loadKernels } from '../../kernels/kernels.ts';
import { Random } from '../../numeric/random.ts';
import { dequantizeTile } from '../dequantize.ts';
import { quantizeMatrix } from '../index.ts';
import { quantizeRows, surveyLimits } from '../quantize-matrix.ts';
import type { GptqRounding, MatrixScheme } from '../scheme.ts';
import { correlated } from './correlated.fixture.ts';
import type { Factor } from './factor.ts';
import { factorizeHere } from './factorize.ts';
import { feedbackRows } from './feedback-rows.ts';
import { gptqReference } from './gptq.ref.ts';
import { type GptqScheme, gptqRows } from './gptq-rows.ts';
import { feedbackLoss } from './loss.ts';

const kernels = await loadKernels();
const rounding: GptqRounding = { kind: 'gptq', damp: 0.01, order: 'natural', groups: 'dynamic', block: 128, refine: 0 };
const base: GptqScheme = {
  kind: 'integer',
  bits: 4,
  symmetric: false,
  signed: false,
  granularity: { group: 32 },
  range: 'minmax',
  scaleType: 'f16',
  emptyGroup: 'unit',
  arithmetic: { compute: 'f32' },
  rounding,
};

function weights(rows: number, cols: number, seed = 1): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: rows * cols }, () => 0.02 * random.gaussian());
}

function factorOf(h: Float32Array, { damp, order }: GptqRounding): Factor {
  const factor = factorizeHere(kernels, h, { damp, order, name: 'test' });
  if ('fallback' in factor) throw new Error(factor.fallback);
  return factor;
}

function identity(n: number): Float32Array {
  return Float32Array.from({ length: n * n }, (_, at) => (at % (n + 1) === 0 ? 1 : 0));
}

const round = (w: Float32Array, rows: number, scheme: GptqScheme, factor: Factor, from = 0, to = rows) =>
  gptqRows(
    kernels,
    w.slice(from * factor.cols, to * factor.cols),
    { name: 'w', shape: [rows, factor.cols], from, to },
    scheme,
    factor,
  );

describe('gptqRows', () => {
  const schemes: [string, Partial<MatrixScheme>][] = [
    ['asymmetric', {}],
    ['symmetric, unsigned', { symmetric: true, range: 'absmax-gptq' }],
    ['symmetric, signed', { symmetric: true, signed: true, range: 'absmax-half' }],
    ['zero before rounding', { signed: true, arithmetic: { compute: 'f32', zero: 'beforeRounding' } }],
    ['float zero', { zero: 'float' }],
    ['minimum', { zero: 'minimum' }],
    ['8 bits, f32 scales', { bits: 8, scaleType: 'f32' }],
    ['whole rows', { granularity: 'channel' }],
    ['whole tensor', { granularity: 'tensor' }],
    ['mse', { range: 'mse', bits: 3 }],
    ['negative scales', { symmetric: true, range: 'signed-extreme' }],
  ];

  it.each(schemes)('%s: an identity as Hessian is rounding to nearest', (_, changes) => {
    for (const [cols, block] of [
      [96, 128],
      [320, 32],
      [320, 128],
      [320, 256],
    ] as const) {
      for (const groups of ['dynamic', 'static'] as const) {
        const scheme = { ...base, ...changes, rounding: { ...rounding, groups, block } } as GptqScheme;
        const w = weights(11, cols);
        w.fill(0, 64, 96);
        const place = { name: 'w', shape: [11, cols] as const, from: 0, to: 11 };
        expect(round(w, 11, scheme, factorOf(identity(cols), rounding))).toEqual(quantizeRows(w, place, scheme));
      }
    }
  });

  const orders = ['natural', 'activation'] as const;
  const cases = orders.flatMap((order) =>
    (['dynamic', 'static'] as const).flatMap((groups) =>
      [
        [320, 32, 128],
        [320, 64, 32],
        [384, 96, 128],
        [512, 256, 128],
        [512, 256, 32],
        [320, 160, 256],
        [100, 10, 30],
      ].map(([cols, group, block]) => [order, groups, cols!, group!, block!] as const),
    ),
  );

  it.each(cases)('%s order, %s groups: %i columns in groups of %i, blocks of %i', (order, groups, cols, group, block) => {
    const scheme: GptqScheme = { ...base, granularity: { group }, rounding: { ...rounding, order, groups, block } };
    const rows = 9;
    const w = weights(rows, cols, 2);
    const h = correlated(cols, 5);
    // Two dead inputs.
    for (const dead of [3, cols - 1]) for (let i = 0; i < cols; i++) h[dead * cols + i] = h[i * cols + dead] = 0;
    const factor = factorOf(h, scheme.rounding);
    const tile = round(w, rows, scheme, factor);
    const reference = gptqReference(w, cols, h, scheme);
    const different = tile.codes.filter((code, i) => code !== reference.codes[i]).length;
    // f32 beside f64: a code on a tie changes what follows in its row.
    expect(different / tile.codes.length).toBeLessThan(0.005);
    expect(Array.from(factor.order)).toEqual(Array.from(reference.order));
    const { per } = tile.scale!;
    expect('groupOf' in per).toBe(order === 'activation' && groups === 'dynamic');
    if ('groupOf' in per) expect(per.groupOf).toEqual(reference.groupOf);
    const values = dequantizeTile(tile);
    for (let row = 0; row < rows; row++) for (const dead of [3, cols - 1]) expect(values[row * cols + dead]! + 0).toBe(0);
  });

  it.each(orders)('%s order: how rows are cut changes nothing', (order) => {
    const scheme: GptqScheme = { ...base, rounding: { ...rounding, order } };
    const [rows, cols] = [27, 160];
    const w = weights(rows, cols, 3);
    const factor = factorOf(correlated(cols, 6), scheme.rounding);
    const whole = round(w, rows, scheme, factor);
    for (const cut of [1, 5, 8, 13]) {
      for (let from = 0; from < rows; from += cut) {
        const to = Math.min(from + cut, rows);
        const tile = round(w, rows, scheme, factor, from, to);
        expect(tile.codes).toEqual(whole.codes.slice(from * cols, to * cols));
        expect(tile.scale!.values).toEqual(whole.scale!.values.slice(from * 5, to * 5));
        expect(tile.zero!.levels.values).toEqual(whole.zero!.levels.values.slice(from * 5, to * 5));
      }
    }
  });

  it('one scale a tensor: tiles take the survey', () => {
    const scheme: GptqScheme = { ...base, granularity: 'tensor' };
    const w = weights(10, 64);
    const factor = factorOf(correlated(64, 7), rounding);
    const whole = round(w, 10, scheme, factor);
    const place = { name: 'w', shape: [10, 64] as const, from: 4, to: 10 };
    expect(() => gptqRows(kernels, w.slice(256), place, scheme, factor)).toThrow(/limits of the whole tensor/);
    const tile = gptqRows(kernels, w.slice(256), { ...place, survey: surveyLimits(w, scheme) }, scheme, factor);
    expect(tile.codes).toEqual(whole.codes.slice(256));
    expect(tile.scale!.values).toEqual(whole.scale!.values);
  });

  it('takes values that lie in the arena', async () => {
    const w = weights(8, 2048);
    const factor = factorOf(identity(2048), rounding);
    const own = await loadKernels();
    const at = own.alloc(w.byteLength);
    own.f32(at, w.length).set(w);
    const place = { name: 'w', shape: [8, 2048] as const, from: 0, to: 8 };
    const mark = own.mark();
    expect(gptqRows(own, own.f32(at, w.length), place, base, factor)).toEqual(gptqRows(kernels, w, place, base, factor));
    expect(own.mark()).toBe(mark);
  });

  it('loses less than rounding to nearest', () => {
    const [rows, cols] = [16, 256];
    const w = weights(rows, cols, 8);
    const factor = factorOf(correlated(cols, 9), rounding);
    const lost = (tile: ReturnType<typeof round>): number =>
      feedbackLoss(
        kernels,
        dequantizeTile(tile).map((value, i) => w[i]! - value),
        factor,
      ).reduce((a, b) => a + b, 0);
    const nearest = lost(quantizeRows(w, { name: 'w', shape: [rows, cols], from: 0, to: rows }, base));
    expect(lost(round(w, rows, base, factor)) / nearest).toBeLessThan(0.6);
  });

  it('refuses what does not fit', () => {
    const factor = factorOf(identity(32), rounding);
    const w = weights(2, 32);
    const place = { name: 'w', shape: [2, 32] as const, from: 0, to: 2 };
    expect(() => gptqRows(kernels, w, { ...place, shape: [2, 64] }, base, factor)).toThrow(RecipeError);
    expect(() => gptqRows(kernels, w.slice(1), place, base, factor)).toThrow(RecipeError);
    expect(() => round(w, 2, { ...base, granularity: { group: 24 } }, factor)).toThrow(RecipeError);
    expect(() => round(w, 2, { ...base, rounding: { ...rounding, block: 0, refine: 0 } }, factor)).toThrow(RecipeError);
    expect(() =>
      round(
        w.map(() => 1e9),
        2,
        base,
        factor,
      ),
    ).toThrow(/overflows f16/);
    const bad = w.slice();
    bad[5] = Number.NaN;
    expect(() => round(bad, 2, base, factor)).toThrow(NumericError);
    const mark = kernels.mark();
    expect(() =>
      round(
        w.map(() => 1e9),
        2,
        base,
        factor,
      ),
    ).toThrow();
    expect(kernels.mark()).toBe(mark);
  });
});

describe('feedbackRows', () => {
  const [rows, cols, group] = [12, 192, 32];
  const w = weights(rows, cols, 10).map((value) => value * 50);
  const random = new Random(11);
  const scale = Float32Array.from({ length: (rows * cols) / group }, () => 0.1 + 0.2 * random.uniform());
  const minimum = scale.map((s) => -7 * s);
  scale[4] = 0;
  const h = correlated(cols, 12);
  const factor = factorOf(h, { ...rounding, order: 'activation' });
  const codebook = Float32Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113).map((v) => v / 16);

  it.each([
    ['integers with minima', { low: 0, high: 15 }],
    ['a codebook', { codebook }],
  ])('%s: the loss is that of the decoded values', (_, grid) => {
    const levels = { scale, group, grid, ...('low' in grid && { minimum }) };
    const { codes, losses } = feedbackRows(kernels, w, levels, factor);
    const error = w.map((value, i) => {
      const at = Math.floor(i / group);
      const q = 'codebook' in grid ? grid.codebook[codes[i]!]! : codes[i]!;
      return value - (Math.fround(scale[at]! * q) + ('low' in grid ? minimum[at]! : 0));
    });
    const diagonal = h.reduce((sum, value, at) => sum + (at % (cols + 1) === 0 ? value : 0), 0) / cols;
    for (let row = 0; row < rows; row++) {
      let wanted = 0;
      for (let i = 0; i < cols; i++) {
        const e = error[row * cols + i]!;
        for (let j = 0; j < cols; j++)
          wanted += e * (h[i * cols + j]! + (i === j ? 0.01 * diagonal : 0)) * error[row * cols + j]!;
      }
      expect(Math.abs(losses[row]! / wanted - 1)).toBeLessThan(1e-3);
      expect(Math.abs(feedbackLoss(kernels, error, factor)[row]! / wanted - 1)).toBeLessThan(1e-3);
    }
  });

  it('an identity as Hessian takes the nearest', () => {
    const { codes } = feedbackRows(kernels, w, { scale, group, grid: { codebook } }, factorOf(identity(cols), rounding));
    const distance = (i: number, code: number): number => Math.abs(w[i]! - scale[Math.floor(i / group)]! * codebook[code]!);
    codes.forEach((code, i) => {
      for (let other = 0; other < 16; other++) expect(distance(i, code)).toBeLessThanOrEqual(distance(i, other) + 1e-6);
    });
    const signed = feedbackRows(
      kernels,
      w,
      { scale, group, grid: { low: -8, high: 7 } },
      factorOf(identity(cols), rounding),
    ).codes;
    signed.forEach((code, i) => {
      const s = scale[Math.floor(i / group)]!;
      if (s !== 0) expect(Math.abs(code - 8 - Math.max(-8, Math.min(7, w[i]! / s)))).toBeLessThanOrEqual(0.500001);
    });
  });

  it('refuses levels that do not fit', () => {
    const grid = { low: 0, high: 15 };
    expect(() => feedbackRows(kernels, w, { scale: scale.slice(1), group, grid }, factor)).toThrow(RecipeError);
    expect(() => feedbackRows(kernels, w, { scale, minimum: scale.slice(1), group, grid }, factor)).toThrow(RecipeError);
    expect(() => feedbackRows(kernels, w, { scale, group: 31, grid }, factor)).toThrow(RecipeError);
    expect(() => feedbackRows(kernels, w, { scale, group, grid: { codebook: scale.slice(0, 9) } }, factor)).toThrow(RecipeError);
  });
});

describe('quantizeMatrix', () => {
  it('takes a Hessian', () => {
    const w = weights(8, 64);
    const hessian = correlated(64, 13);
    const { tile, dequantized } = quantizeMatrix(w, [8, 64], base, { name: 'w', statistics: { hessian }, kernels });
    expect(tile).toEqual(round(w, 8, base, factorOf(hessian, rounding)));
    expect(dequantized()).toEqual(dequantizeTile(tile));
    expect(() => quantizeMatrix(w, [8, 64], base)).toThrow(/needs the Hessian/);
    const hopeless = hessian.map((value, at) => (at % 65 === 0 ? value : 100 * value));
    expect(() => quantizeMatrix(w, [8, 64], base, { statistics: { hessian: hopeless }, kernels })).toThrow(NumericError);
  });
});
