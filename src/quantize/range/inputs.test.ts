/** The ranges that know their inputs: each leaves less of the error it minimises than the others, whatever the scheme. */
import { describe, expect, it } from 'vitest';
import { RecipeError } from '../../errors.ts';
import { Random } from '../../numeric/random.ts';
import {
  describeRange,
  groupBlocks,
  quantizeMatrix,
  quantizeRows,
  rangeInputs,
  rangeNeeds,
  ranges,
  surveyLimits,
} from '../index.ts';
import type { MatrixScheme, RangeName } from '../scheme.ts';

const rows = 24;
const cols = 128;
const random = new Random(11);
/** Some columns are outliers, as in language models. */
const weight = Float32Array.from({ length: rows * cols }, () => random.gaussian() * (random.uniform() < 0.02 ? 4 : 1));
/** Inputs [512, cols] whose neighbours are alike and whose columns differ in size. */
const inputs = correlated(512);
const hessian = hessianOf(inputs);
const meansquare = Float32Array.from({ length: cols }, (_, c) => hessian[c * cols + c]!);
const statistics = { meansquare, hessian };

function correlated(tokens: number): Float32Array {
  const x = new Float32Array(tokens * cols);
  for (let t = 0; t < tokens; t++) {
    for (let c = 0, last = 0; c < cols; c++) {
      last = 0.9 * last + 0.44 * random.gaussian();
      x[t * cols + c] = last * (c % 16 === 3 ? 8 : 1 + (c % 5) / 4);
    }
  }
  return x;
}

/** (1 / n) X' X of x [n, cols]. */
function hessianOf(x: Float32Array): Float32Array {
  const tokens = x.length / cols;
  const h = new Float32Array(cols * cols);
  for (let i = 0; i < cols; i++) {
    for (let j = 0; j < cols; j++) {
      let sum = 0;
      for (let t = 0; t < tokens; t++) sum += x[t * cols + i]! * x[t * cols + j]!;
      h[i * cols + j] = sum / tokens;
    }
  }
  return h;
}

const scheme = (range: RangeName, rest: Partial<MatrixScheme> = {}): MatrixScheme => ({
  kind: 'integer',
  bits: 3,
  symmetric: true,
  granularity: { group: 32 },
  range,
  rangeOptions: rest.symmetric === false ? {} : { base: 'absmax-half' },
  scaleType: 'f16',
  ...rest,
});

function differenceOf(s: MatrixScheme): Float64Array {
  const decoded = quantizeMatrix(weight, [rows, cols], s, { name: 'w', statistics }).dequantized();
  return Float64Array.from(weight, (x, i) => x - decoded[i]!);
}

/** What each range minimises, for the values [from, to) of one row. */
const errors: Record<string, (e: Float64Array, row: number, from: number, to: number) => number> = {
  mse(e, row, from, to) {
    let sum = 0;
    for (let c = from; c < to; c++) sum += e[row * cols + c]! ** 2;
    return sum;
  },
  imatrix(e, row, from, to) {
    let sum = 0;
    for (let c = from; c < to; c++) sum += meansquare[c]! * e[row * cols + c]! ** 2;
    return sum;
  },
  'output-mse'(e, row, from, to) {
    let sum = 0;
    for (let i = from; i < to; i++)
      for (let j = from; j < to; j++) sum += e[row * cols + i]! * hessian[i * cols + j]! * e[row * cols + j]!;
    return sum;
  },
};

const schemes: [string, Partial<MatrixScheme>][] = [
  ['symmetric groups', {}],
  ['asymmetric groups', { symmetric: false }],
  ['float zeros', { symmetric: false, zero: 'float' }],
  ['minima', { symmetric: false, zero: 'minimum' }],
  ['2 bits', { bits: 2 }],
  ['rows', { granularity: 'channel' }],
];

describe.each(schemes)('%s', (_, rest) => {
  const run = rest.granularity === 'channel' ? cols : 32;
  const plain = rest.symmetric === false ? 'minmax' : 'absmax-half';

  it.each(Object.keys(errors))('%s leaves the least of its error in every group', (name) => {
    const measure = errors[name]!;
    const own = differenceOf(scheme(name as RangeName, rest));
    for (const other of [plain, ...Object.keys(errors)] as RangeName[]) {
      const theirs = differenceOf(scheme(other, rest));
      let [mine, sum] = [0, 0];
      for (let row = 0; row < rows; row++) {
        for (let from = 0; from < cols; from += run) {
          const [a, b] = [measure(own, row, from, from + run), measure(theirs, row, from, from + run)];
          // Decoding rounds to f32, the search does not.
          expect(a).toBeLessThanOrEqual(b * (1 + 1e-5));
          mine += a;
          sum += b;
        }
      }
      if (other === plain) expect(mine).toBeLessThan(0.9 * sum);
    }
  });
});

describe('a scale for the whole tensor', () => {
  it.each(['imatrix', 'output-mse'] as const)('%s', (name) => {
    const total = (e: Float64Array) => {
      let sum = 0;
      for (let row = 0; row < rows; row++) sum += errors[name]!(e, row, 0, cols);
      return sum;
    };
    const whole = { granularity: 'tensor' } as const;
    expect(total(differenceOf(scheme(name, whole)))).toBeLessThan(0.98 * total(differenceOf(scheme('absmax-half', whole))));
    const s = scheme(name, whole);
    const known = rangeInputs(rangeNeeds(name), 'tensor', cols, statistics);
    const survey = surveyLimits(weight, s, known);
    const place = { name: 'w', shape: [rows, cols] as const, from: 4, to: 8, survey };
    const tile = quantizeRows(weight.subarray(4 * cols, 8 * cols), place, s, { inputs: known });
    expect(tile.codes).toEqual(
      quantizeMatrix(weight, [rows, cols], s, { name: 'w', statistics }).tile.codes.subarray(4 * cols, 8 * cols),
    );
  });
});

describe('equal statistics give equal ranges', () => {
  const scales = (s: MatrixScheme, given: object) =>
    quantizeMatrix(weight, [rows, cols], s, { name: 'w', statistics: given }).tile.scale!.values;

  it('columns that all matter the same: imatrix and output-mse are mse', () => {
    const identity = Float32Array.from({ length: cols * cols }, (_, i) => (i % (cols + 1) === 0 ? 1 : 0));
    const same = { meansquare: new Float32Array(cols).fill(1), hessian: identity };
    expect(scales(scheme('imatrix'), same)).toEqual(scales(scheme('mse'), {}));
    expect(scales(scheme('output-mse'), same)).toEqual(scales(scheme('mse'), {}));
  });

  it('a diagonal Hessian: output-mse is imatrix', () => {
    const diagonal = hessian.map((h, i) => (i % (cols + 1) === 0 ? h : 0));
    expect(scales(scheme('output-mse'), { hessian: diagonal })).toEqual(scales(scheme('imatrix'), { meansquare }));
  });

  it('a factor on the statistics changes nothing', () => {
    const scaled = { meansquare: meansquare.map((m) => 1024 * m), hessian: hessian.map((h) => 1024 * h) };
    for (const name of ['imatrix', 'output-mse'] as const)
      expect(scales(scheme(name), scaled)).toEqual(scales(scheme(name), statistics));
  });
});

describe('odd groups', () => {
  const decoded = (x: Float32Array, given = statistics, rest: Partial<MatrixScheme> = {}) =>
    (['imatrix', 'output-mse'] as const).map((name) =>
      quantizeMatrix(x, [x.length / cols, cols], scheme(name, rest), { name: 'w', statistics: given }).dequantized(),
    );

  it('zeros stay zeros, one value stays', () => {
    for (const out of decoded(new Float32Array(2 * cols))) expect(out).toEqual(new Float32Array(2 * cols));
    const one = new Float32Array(cols).fill(0.7);
    for (const out of decoded(one, statistics, { symmetric: false, scaleType: 'f32' }))
      for (const x of out) expect(x).toBeCloseTo(0.7, 6);
  });

  it('inputs that are always zero: the widest limits', () => {
    const dead = { meansquare: new Float32Array(cols), hessian: new Float32Array(cols * cols) };
    for (const out of decoded(weight, dead))
      expect(out).toEqual(quantizeMatrix(weight, [rows, cols], scheme('absmax-half')).dequantized());
  });

  it.each([1, 2, 5, 8])('%i bits, also of subnormal weights', (bits) => {
    for (const x of [weight, weight.map((w) => w * 1e-40)])
      for (const out of decoded(x, statistics, { bits, scaleType: 'f32' })) expect(out.every(Number.isFinite)).toBe(true);
  });
});

describe('what is missing or does not fit', () => {
  it('says which statistic and how to get it', () => {
    expect(() => quantizeMatrix(weight, [rows, cols], scheme('imatrix'), { name: 'w', statistics: { hessian } })).toThrow(
      /range imatrix needs the mean squares of the inputs .*; make statistics with fewbits calibrate/,
    );
    expect(() => quantizeMatrix(weight, [rows, cols], scheme('output-mse'))).toThrow(RecipeError);
    expect(() => quantizeMatrix(weight, [rows, cols], scheme('output-mse'))).toThrow(/needs the Hessian of the inputs/);
  });

  it('statistics of another width', () => {
    const narrow = { meansquare: new Float32Array(64), hessian: new Float32Array(64 * 64) };
    for (const name of ['imatrix', 'output-mse'] as const)
      expect(() => quantizeMatrix(weight, [rows, cols], scheme(name), { name: 'w', statistics: narrow })).toThrow(RecipeError);
    const place = { name: 'w', shape: [rows, cols] as const, from: 0, to: rows };
    const bad = { blocks: { size: 64, values: new Float32Array(cols * 64) } };
    expect(() => quantizeRows(weight, place, scheme('output-mse'), { inputs: bad })).toThrow(/do not divide/);
    expect(() => quantizeRows(weight, place, scheme('output-mse'), { inputs: { blocks: { ...bad.blocks, size: 0 } } })).toThrow(
      RecipeError,
    );
  });

  it('needs and formulas of all ranges', () => {
    const needing = Object.keys(ranges).filter((name) => rangeNeeds(name as RangeName).length > 0);
    expect(needing).toEqual(['imatrix', 'output-mse']);
    expect(rangeNeeds('imatrix')).toEqual(['meansquare']);
    expect(rangeNeeds('output-mse')).toEqual(['hessian']);
    expect(describeRange(scheme('imatrix'))).toMatch(/Σ E\[input²\]/);
    expect(describeRange(scheme('output-mse'))).toMatch(/0\.21}; s = absmax/);
  });
});

describe('groupBlocks', () => {
  it('cuts the blocks on the diagonal out', () => {
    const blocks = groupBlocks(hessian, cols, 32);
    expect(blocks.length).toBe(cols * 32);
    for (const [g, i, j] of [
      [0, 0, 0],
      [1, 31, 2],
      [3, 5, 30],
    ] as const)
      expect(blocks[(g * 32 + i) * 32 + j]).toBe(hessian[(g * 32 + i) * cols + g * 32 + j]);
    expect(groupBlocks(hessian, cols, cols)).toEqual(hessian);
    expect(() => groupBlocks(hessian, cols, 48)).toThrow(RecipeError);
  });

  it('of rows and tensors: blocks of at most 128 columns that divide the row', () => {
    const size = (wide: number) =>
      rangeInputs(['hessian'], 'channel', wide, { hessian: new Float32Array(wide * wide) }).blocks!.size;
    expect([64, 128, 200, 768, 131].map(size)).toEqual([64, 128, 100, 128, 1]);
  });
});
