// Error feedback on grids whose levels stand: the codes of a slow reference in f64, less loss than nearest codes, levels that can be
// stored, cells that are kept, columns that are balanced; and rows that do not see each other.
import { describe, expect, it } from 'vitest';
import { loadKernels } from '../../kernels/index.ts';
import { roundF16 } from '../../numeric/f16.ts';
import { Random } from '../../numeric/random.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { dequantizeTile } from '../dequantize.ts';
import { nestedValues } from '../grid/nested-levels.ts';
import { scaledFactor, scaledHessian } from '../rounding/column-space.ts';
import { correlated } from '../rounding/correlated.fixture.ts';
import { factorizeHere } from '../rounding/factorize.ts';
import { feedTile } from '../rounding/feed-tile.ts';
import { inverseUpper, orderedHessian } from '../rounding/gptq.ref.ts';
import { symmetricProductOf } from '../rounding/products.ts';
import { refineMath } from '../rounding/refine-math.ts';
import type { GptqRounding, WeightScheme } from '../scheme.ts';
import { encodeRows, surveyScheme } from './encode.ts';
import { type FedInputs, feedRows, surveyFed } from './feed.ts';
import type { Survey } from './types.ts';

const kernels = await loadKernels();
const tools = { kernels, math: refineMath(kernels, symmetricProductOf(kernels)) };
const [rows, cols] = [19, 192];
const damp = 0.01;
const hessian = correlated(cols, 7);
const random = new Random(3);
const w = Float32Array.from({ length: rows * cols }, () => 0.05 * random.gaussian() * (random.uniform() < 0.01 ? 6 : 1));
const place = { name: 'w', shape: [rows, cols] as const, from: 0, to: rows };

function inputsOf(order: GptqRounding['order'], group = 1): FedInputs {
  const factor = factorizeHere(kernels, hessian, { damp, order, group, name: 'w' });
  if ('fallback' in factor) throw new Error(factor.fallback);
  const diagonal = Float32Array.from({ length: cols }, (_, i) => hessian[i * (cols + 1)]!);
  const added = (damp * diagonal.reduce((a, b) => a + b, 0)) / cols;
  return {
    factor,
    hessian: hessian.map((h, at) => (at % (cols + 1) === 0 ? h + added : h)),
    meansquare: diagonal,
    absmax: diagonal.map(Math.sqrt),
  };
}

const rounding = (refine: number, order: GptqRounding['order'] = 'activation'): GptqRounding => ({
  ...{ kind: 'gptq', damp, order, groups: 'static', block: 128, refine },
});

const group = { group: 32 } as const;
const tables = { kind: 'table', granularity: group, range: 'absmax', scaleType: 'f16' } as const;
const grids: Record<string, WeightScheme> = {
  nf4: { ...tables, table: 'nf4' },
  'fp4, codes out of order': { ...tables, table: 'fp4' },
  ternary: { ...tables, table: 'ternary', range: 'mse' },
  binary: { ...tables, table: 'binary', range: 'mse' },
  e3m2: { ...tables, table: 'e3m2', granularity: 'channel', scaleType: 'bf16' },
  'e4m3, one scale': { ...tables, table: 'e4m3', granularity: 'tensor', scaleType: 'f32' },
  'nf4 under rows': { ...tables, table: 'nf4', nested: { bits: 6, per: 'row' } },
  'nf4 under the tensor': { ...tables, table: 'nf4', scaleType: 'f32', nested: { bits: 8, per: 'tensor' } },
  mxfp4: { kind: 'mx', element: 'e2m1', exponent: 'best' },
  mxfp8: { kind: 'mx', element: 'e5m2', exponent: 'floor' },
  nvfp4: { kind: 'nvfp4', scale: 'four-over-six' },
  'books of rows': { kind: 'codebook', bits: 3, dim: 1, per: 'row', weighted: true, bookType: 'f16' },
  'book of the tensor': { kind: 'codebook', bits: 4, dim: 1, per: 'tensor', weighted: false, bookType: 'f16' },
  'int3 nested': {
    ...{ kind: 'integer', bits: 3, symmetric: false, granularity: { group: 16 }, range: 'minmax', scaleType: 'f16' },
    nested: { bits: 5, per: 'row' },
  },
  'int4 nested, signed': {
    ...{ kind: 'integer', bits: 4, symmetric: true, granularity: { group: 16 }, range: 'absmax-half', scaleType: 'f16' },
    nested: { bits: 6, per: 'row' },
  },
};

/** e H e' of each row in f64. */
function losses(found: Float32Array, h: Float32Array, target = w): Float64Array {
  const sums = new Float64Array(found.length / cols);
  for (let r = 0; r < sums.length; r++) {
    const e = Float64Array.from({ length: cols }, (_, c) => found[r * cols + c]! - target[r * cols + c]!);
    for (let i = 0; i < cols; i++) for (let j = 0; j < cols; j++) sums[r]! += e[i]! * h[i * cols + j]! * e[j]!;
  }
  return sums;
}
const total = (sums: Float64Array): number => sums.reduce((a, b) => a + b, 0);

const part = (survey: Survey, scheme: WeightScheme, inputs: FedInputs, from: number, to: number): QuantizedTile =>
  feedRows(tools, w.slice(from * cols, to * cols), { ...place, from, to }, scheme, inputs, survey);

/** What every value of a code would be in each cell, [rows, cols, entries]: the levels of a tile, whatever they are. */
function reachable(tile: QuantizedTile, entries: number): Float64Array {
  const all = new Float64Array(tile.codes.length * entries);
  for (let code = 0; code < entries; code++) {
    const values = dequantizeTile({ ...tile, codes: new Uint8Array(tile.codes.length).fill(code) });
    for (const [i, value] of values.entries()) all[i * entries + code] = value;
  }
  return all;
}

/** GPTQ with the inverse in f64: each column to the nearest value that its cell can have. */
function reference(tile: QuantizedTile, entries: number): Float64Array {
  const { h, order } = orderedHessian(hessian, cols, rounding(0));
  const u = inverseUpper(h, cols);
  const values = reachable(tile, entries);
  const out = new Float64Array(w.length);
  for (let row = 0; row < rows; row++) {
    const x = Float64Array.from(order, (column) => w[row * cols + column]!);
    for (let k = 0; k < cols; k++) {
      const cell = row * cols + order[k]!;
      let best = Number.NaN;
      for (let code = 0; code < entries; code++) {
        const value = values[cell * entries + code]!;
        if (Number.isFinite(value) && !(Math.abs(value - x[k]!) >= Math.abs(best - x[k]!))) best = value;
      }
      out[cell] = best;
      const error = (x[k]! - best) / u[k * cols + k]!;
      for (let j = k + 1; j < cols; j++) x[j]! -= error * u[k * cols + j]!;
    }
  }
  return out;
}

const entriesOf = ({ grid }: QuantizedTile): number => {
  if (grid.kind === 'integer') return 2 ** grid.bits;
  if (grid.kind === 'codebook') return 'rows' in grid.per && grid.per.rows === 1 ? grid.values.length / rows : grid.values.length;
  return grid.kind === 'minifloat' ? { e2m1: 16, e3m2: 64, e4m3: 256, e5m2: 256 }[grid.format]! : 0;
};

describe.each(Object.entries(grids))('%s', (_, scheme) => {
  const inputs = inputsOf('activation');
  const fed: WeightScheme = { ...scheme, rounding: rounding(0) };
  const refined: WeightScheme = { ...scheme, rounding: rounding(2) };
  const survey = surveyFed(tools, w, place, fed, inputs);
  const nearest = encodeRows(w, place, scheme, inputs, survey);

  it('has the codes of the slow reference, under the levels of nearest codes', () => {
    const tile = part(survey, fed, inputs, 0, rows);
    expect(tile.scale!.values).toEqual(nearest.scale!.values);
    expect(tile.grid).toEqual(nearest.grid);
    const wanted = reference(nearest, entriesOf(nearest));
    const found = dequantizeTile(tile);
    const others = found.reduce((count, value, i) => count + Number(Math.abs(value - wanted[i]!) > 1e-6), 0);
    expect(others / w.length).toBeLessThan(0.005);
    expect(total(losses(found, inputs.hessian)) / total(losses(Float32Array.from(wanted), inputs.hessian))).toBeCloseTo(1, 2);
  });

  it('loses less than nearest codes, and refined less again in every row', () => {
    const [before, after] = [fed, refined].map((one) =>
      losses(dequantizeTile(part(survey, one, inputs, 0, rows)), inputs.hessian),
    );
    expect(total(before!)).toBeLessThan(0.8 * total(losses(dequantizeTile(nearest), inputs.hessian)));
    expect(total(after!)).toBeLessThan(0.98 * total(before!));
    for (const [r, loss] of after!.entries()) expect(loss).toBeLessThanOrEqual(before![r]! * (1 + 1e-5));
  });

  it('keeps levels that can be stored', () => {
    const { scale } = part(survey, refined, inputs, 0, rows);
    expect(nestedValues(scale!, { from: 0, to: rows, cols })).toEqual(scale!.values);
    if (scale!.codes) expect(Math.min(...scale!.codes)).toBeGreaterThanOrEqual(0);
    if (scale!.stored === 'f16') expect(scale!.values.map(roundF16)).toEqual(scale!.values);
    if (scale!.stored === 'e8m0') expect(scale!.values.every((value) => Number.isInteger(Math.log2(value)))).toBe(true);
    expect(scale!.values.every((value) => value > 0)).toBe(true);
  });

  it('gives a row the same codes alone and among others', () => {
    const whole = part(survey, refined, inputs, 0, rows);
    const some = part(survey, refined, inputs, 3, 12);
    expect(some.codes).toEqual(whole.codes.slice(3 * cols, 12 * cols));
    expect(dequantizeTile(some)).toEqual(dequantizeTile(whole).slice(3 * cols, 12 * cols));
  });
});

describe('what is kept apart', () => {
  const inputs = inputsOf('activation');
  const nf4 = grids['nf4']!;
  const sparse = { sparse: { share: 0.02, by: 'sensitivity' } } as const;
  const loss = (scheme: WeightScheme) => {
    const survey = surveyFed(tools, w, place, scheme, inputs);
    const tile = feedRows(tools, w, place, scheme, inputs, survey);
    return { tile, loss: total(losses(dequantizeTile(tile), inputs.hessian)) };
  };

  it.each([
    ['sparse', sparse],
    ['columns', { columns: { count: 4 } }],
    ['both', { ...sparse, columns: { count: 4 } }],
  ])('%s: takes its target in f16, which lowers the loss below that of the weights themselves', (_, split) => {
    for (const refine of [0, 2]) {
      const scheme: WeightScheme = { ...nf4, split, rounding: rounding(refine) };
      const { tile, loss: found } = loss(scheme);
      expect(found).toBeLessThan(loss({ ...nf4, rounding: rounding(refine) }).loss);
      const held = tile.sparse?.value ?? tile.columns!.value;
      expect(held.map(roundF16)).toEqual(held);
      // The same codes beside the weights as they are.
      const plain: QuantizedTile = { ...tile };
      if (tile.sparse) {
        const { row, col } = tile.sparse;
        plain.sparse = { ...tile.sparse, value: held.map((_, i) => w[row[i]! * cols + col[i]!]!) };
      }
      if (tile.columns) {
        const { index } = tile.columns;
        const value = tile.columns.value.map((_, i) => w[Math.floor(i / index.length) * cols + index[i % index.length]!]!);
        plain.columns = { ...tile.columns, value };
      }
      // Columns that are rounded first have nothing to make up for; refinement lets all of them make up for everything.
      expect(found).toBeLessThan((refine ? 0.98 : 1.0001) * total(losses(dequantizeTile(plain), inputs.hessian)));
    }
  });

  it('is what costs most: sensitivity beats magnitude', () => {
    const of = (by: 'sensitivity' | 'magnitude') =>
      loss({ ...nf4, split: { sparse: { share: 0.02, by } }, rounding: rounding(0) }).loss;
    expect(of('sensitivity')).toBeLessThan(of('magnitude'));
  });

  it('overflows f16 loudly', () => {
    const large = w.map((value, i) => (i === 5 ? 1e6 : value));
    const scheme: WeightScheme = { ...nf4, scaleType: 'f32', split: sparse, rounding: rounding(0) } as WeightScheme;
    expect(() => feedRows(tools, large, place, scheme, inputs, {})).toThrow(/overflows/);
  });
});

describe('balanced columns', () => {
  const inputs = inputsOf('activation');
  const column = Float32Array.from({ length: cols }, (_, c) => 0.5 + ((c * 37) % 19) / 10);

  it('have the factor of the scaled Hessian', () => {
    const { factor } = inputs;
    const scaled = scaledFactor(factor, column);
    const h = scaledHessian(inputs.hessian, column);
    // R' R'' = H' in processing order.
    const cell = (i: number, j: number): number => {
      if (j < i) return 0;
      const [a, b] = [i >> 7, j >> 7];
      const tiles = Math.ceil(cols / 128);
      const first = (a * tiles - (a * (a - 1)) / 2 + (b - a)) * 128 * 128;
      const k = j & 127;
      return scaled.matrix[first + (k >> 3) * 1024 + (i & 127) * 8 + (k & 7)]! * scaled.roots[j]!;
    };
    for (let i = 0; i < cols; i += 17) {
      for (let j = i; j < cols; j += 5) {
        let sum = 0;
        for (let k = j; k < cols; k++) sum += cell(i, k) * cell(j, k);
        const wanted = h[factor.order[i]! * cols + factor.order[j]!]!;
        const size = Math.sqrt(h[factor.order[i]! * (cols + 1)]! * h[factor.order[j]! * (cols + 1)]!);
        expect(Math.abs(sum - wanted)).toBeLessThan(1e-4 * size);
      }
    }
  });

  it.each(['int4', 'nf4'])('%s: lose less with feedback, and no more than without the balance by far', (name) => {
    const plain: WeightScheme =
      name === 'nf4'
        ? grids['nf4']!
        : { kind: 'integer', bits: 4, symmetric: false, granularity: group, range: 'minmax', scaleType: 'f16' };
    // Columns of very different sizes are what the balance is for.
    const uneven = w.map((value, i) => value * column[i % cols]! ** 3);
    const of = (scheme: WeightScheme) => {
      const survey = scheme.rounding
        ? surveyFed(tools, uneven, place, scheme, inputs)
        : surveyScheme(uneven, place, scheme, inputs);
      const tile = scheme.rounding
        ? feedRows(tools, uneven, place, scheme, inputs, survey)
        : encodeRows(uneven, place, scheme, inputs, survey);
      if (scheme.balance) expect(tile.columnScale).toHaveLength(cols);
      return total(losses(dequantizeTile(tile), inputs.hessian, uneven));
    };
    const balanced: WeightScheme = { ...plain, balance: 'sinkhorn' };
    const fed = of({ ...balanced, rounding: rounding(2) });
    expect(fed).toBeLessThan(0.5 * of(balanced));
    expect(fed).toBeLessThan(of({ ...plain, rounding: rounding(2) }));
  });
});

describe('order by groups', () => {
  it('keeps groups together, the most important first, and columns of each by diag(H)', () => {
    const size = 16;
    const { factor, meansquare } = inputsOf('groups', size);
    const { order } = factor;
    const means = Array.from({ length: cols / size }, (_, g) =>
      meansquare!.subarray(g * size, (g + 1) * size).reduce((a, b) => a + b, 0),
    );
    const groups = Array.from({ length: cols / size }, (_, g) => [...order.slice(g * size, (g + 1) * size)]);
    for (const [g, columns] of groups.entries()) {
      const own = Math.floor(columns[0]! / size);
      expect(new Set(columns.map((c) => Math.floor(c / size)))).toEqual(new Set([own]));
      for (let i = 1; i < size; i++) expect(meansquare![columns[i]!]!).toBeLessThanOrEqual(meansquare![columns[i - 1]!]!);
      if (g > 0) expect(means[own]!).toBeLessThanOrEqual(means[Math.floor(groups[g - 1]![0]! / size)]!);
    }
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: cols }, (_, c) => c));
  });

  it('finds dynamic scales of columns that are stored as runs', () => {
    const scheme: WeightScheme = {
      ...{ kind: 'integer', bits: 3, symmetric: false, granularity: { group: 16 }, range: 'minmax', scaleType: 'f16' },
      rounding: { ...rounding(0, 'groups'), groups: 'dynamic' },
    };
    const inputs = inputsOf('groups', 16);
    const tile = part({}, scheme, inputs, 0, rows);
    expect(tile.scale!.per).toEqual({ rows: 1, cols: 16 });
    const steps = dequantizeTile(tile);
    const fixed = part({}, { ...scheme, rounding: rounding(0, 'groups') } as WeightScheme, inputs, 0, rows);
    expect(tile.scale!.values).not.toEqual(fixed.scale!.values);
    // The group that is rounded first sees the weights as they are.
    const first = Math.floor(inputs.factor.order[0]! / 16);
    for (let r = 0; r < rows; r++) expect(tile.scale!.values[r * 12 + first]).toBe(fixed.scale!.values[r * 12 + first]);
    const [dynamic, still] = [steps, dequantizeTile(fixed)].map((found) => total(losses(found, inputs.hessian)));
    expect(dynamic! / still!).toBeGreaterThan(0.5);
    expect(dynamic! / still!).toBeLessThan(1.2);
  });
});

describe('a correction of low rank', () => {
  it('is made of what feedback leaves, in the norm of the Hessian', () => {
    const inputs = inputsOf('activation');
    const fed: WeightScheme = { ...grids['ternary']!, rounding: rounding(1) };
    const corrected: WeightScheme = { ...fed, split: { lowRank: { rank: 3, weighted: true } } };
    const survey = surveyFed(tools, w, place, corrected, inputs);
    const tile = feedRows(tools, w, place, corrected, inputs, survey);
    const plain = feedRows(tools, w, place, fed, inputs, {});
    expect(tile.codes).toEqual(plain.codes);
    const [before, after] = [plain, tile].map((one) => total(losses(dequantizeTile(one), inputs.hessian)));
    expect(after!).toBeLessThan(0.75 * before!);
    const { sparse } = { sparse: { share: 0.02, by: 'magnitude' } } as const;
    const both: WeightScheme = { ...fed, split: { lowRank: { rank: 3, weighted: true }, sparse } };
    const found = surveyFed(tools, w, place, both, inputs);
    const apart: WeightScheme = { ...fed, split: { sparse } };
    const [one, two] = [both, apart].map((s) =>
      total(losses(dequantizeTile(feedRows(tools, w, place, s, inputs, s === both ? found : {})), inputs.hessian)),
    );
    expect(one!).toBeLessThan(0.8 * two!);
  });
});

describe('inputs that are always zero', () => {
  const dead = [4, 77, 190];
  const h = hessian.slice();
  for (const c of dead) for (let j = 0; j < cols; j++) h[c * cols + j] = h[j * cols + c] = 0;
  const factor = factorizeHere(kernels, h, { damp, order: 'activation', name: 'w' });
  if ('fallback' in factor) throw new Error(factor.fallback);
  const meansquare = Float32Array.from({ length: cols }, (_, i) => h[i * (cols + 1)]!);
  const inputs: FedInputs = { factor, hessian: h.map((x, at) => (at % (cols + 1) === 0 && x > 0 ? x + 1e-3 : x)), meansquare };

  it.each([
    {},
    { split: { sparse: { share: 0.02, by: 'sensitivity' } } },
    { split: { lowRank: { rank: 3, weighted: true } } },
    { balance: 'sinkhorn' },
  ] as Partial<WeightScheme>[])('count for nothing and break nothing: %j', (extras) => {
    const scheme = { ...grids['nf4']!, ...extras, rounding: rounding(2) } as WeightScheme;
    const found = feedRows(tools, w, place, scheme, inputs, surveyFed(tools, w, place, scheme, inputs));
    const decoded = dequantizeTile(found);
    expect(decoded.every(Number.isFinite)).toBe(true);
    const nearest = encodeRows(w, place, grids['nf4']!, inputs);
    expect(total(losses(decoded, inputs.hessian))).toBeLessThan(0.8 * total(losses(dequantizeTile(nearest), inputs.hessian)));
  });
});

it('refuses codes of vectors', () => {
  const inputs = inputsOf('natural');
  const scheme: WeightScheme = { kind: 'codebook', bits: 4, dim: 2, per: 'tensor', weighted: false, bookType: 'f16' };
  const tile = encodeRows(w, place, scheme, inputs);
  expect(() => feedTile(kernels, w, tile, inputs.factor)).toThrow(/one value each.*codebook/);
});
