import { describe, expect, test } from 'vitest';
import { Random } from '../../numeric/random.ts';
import { dequantizeTile } from '../dequantize.ts';
import type { WeightScheme } from '../scheme.ts';
import { sinqScales } from '../sinq.ts';
import { outlierPlaces, sparsePerRow, withoutApart } from './apart.ts';
import { encodeRows, schemeForm, surveyScheme } from './encode.ts';

const matrix = (rows: number, cols: number, seed = 3): Float32Array => {
  const random = new Random(seed);
  return Float32Array.from({ length: rows * cols }, (_, i) => random.gaussian() * (i % 37 === 0 ? 6 : 1));
};
const placeOf = (rows: number, cols: number, from = 0, to = rows) => ({ name: 'w', shape: [rows, cols] as const, from, to });

describe('a share of a matrix', () => {
  test.each([
    [64, 1000, 288],
    [256, 1000, 1152],
    [1000, 100, 450],
    [64, 2, 1],
  ])('0.45 %% of %i columns of %i rows are %i values', (cols, rows, count) => {
    const perRow = sparsePerRow(0.0045, cols);
    const places = outlierPlaces(matrix(rows, cols).map(Math.abs), placeOf(rows, cols), perRow);
    expect(places.length).toBe(count);
    expect(
      schemeForm({ ...book, split: { sparse: { share: 0.0045, by: 'magnitude' } } }, cols).sparse!.perRow * rows,
    ).toBeCloseTo(0.0045 * rows * cols, 3);
  });

  test('tiles keep what the whole keeps, and rows differ by one value at most', () => {
    const [rows, cols] = [50, 64];
    const score = matrix(rows, cols).map(Math.abs);
    const perRow = sparsePerRow(0.04, cols);
    const parts = [0, 7, 8, 31, 50].slice(1).map((to, i) => {
      const from = [0, 7, 8, 31][i]!;
      return [...outlierPlaces(score.subarray(from * cols, to * cols), placeOf(rows, cols, from, to), perRow)];
    });
    expect(parts.flat()).toEqual([...outlierPlaces(score, placeOf(rows, cols), perRow)]);
    const counts = Array.from({ length: rows }, (_, r) =>
      outlierPlaces(score.subarray(r * cols, (r + 1) * cols), placeOf(rows, cols, r, r + 1), perRow),
    ).map(({ length }) => length);
    expect(new Set(counts)).toEqual(new Set([2, 3]));
  });
});

const book = { kind: 'codebook', bits: 3, dim: 1, per: 'row', weighted: false, bookType: 'f16' } as const;
const g16 = {
  kind: 'integer',
  bits: 3,
  symmetric: false,
  granularity: { group: 16 },
  range: 'minmax',
  scaleType: 'f16',
  balance: 'sinkhorn',
} as const;

test('column factors belong to the rest of what is kept apart, and rows keep what the survey has chosen', () => {
  const [rows, cols] = [48, 64];
  const x = matrix(rows, cols).map((value, i) => value * (1 + (i % cols) / 8));
  const place = placeOf(rows, cols);
  const meansquare = Float32Array.from({ length: cols }, (_, c) => (c % 9 === 0 ? 30 : 1));
  for (const by of ['magnitude', 'sensitivity'] as const) {
    const scheme: WeightScheme = { ...g16, split: { sparse: { share: 0.03, by } } };
    const survey = surveyScheme(x, place, scheme, { meansquare });
    const tile = encodeRows(x, place, scheme, { meansquare }, survey);
    expect(tile.sparse!.col).toEqual(survey.sparse);
    const rest = withoutApart(x, cols, tile.sparse);
    expect(sinqScales(rest, [rows, cols], { stored: 'f32' }).column).toEqual(tile.columnScale);
    const parts = [0, 20].map((from, i) => {
      const to = [20, 48][i]!;
      const part = x.slice(from * cols, to * cols);
      return [...dequantizeTile(encodeRows(part, { ...place, from, to }, scheme, { meansquare }, survey))];
    });
    expect(parts.flat()).toEqual([...dequantizeTile(tile)]);
  }
});
