/** Outliers as SqueezeLLM (a5fd71f) chooses them, and tiles that keep columns or single values apart. */
import { describe, expect, it } from 'vitest';
import { Random } from '../../numeric/random.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { dequantizeTile } from '../dequantize.ts';
import { compareValues } from '../error.ts';
import { readMethodGolden } from '../method-golden.fixture.node.ts';
import { quantizeRows } from '../quantize-matrix.ts';
import type { MatrixScheme } from '../scheme.ts';
import { outlierColumns, outliersByMagnitude, outliersBySensitivity, saliency, sensitivityThreshold } from './outliers.ts';
import { quantizeApart } from './set-apart.ts';

interface Case {
  case: string;
  percent?: number;
  threshold?: number;
  k?: number;
}

const golden = readMethodGolden<Case>('sparse/squeezellm_outliers');
const w = golden.values('W');

describe.each(golden.cases)('SqueezeLLM a5fd71f $case', (c) => {
  it('places and values', () => {
    const sensitivity = golden.values('sensitivity');
    const found =
      c.percent === undefined
        ? outliersByMagnitude(w, c.threshold!)
        : outliersBySensitivity(w, sensitivity, sensitivityThreshold(sensitivity, c.percent));
    expect([...found]).toEqual([...golden.values(`${c.case}.index`)]);
    expect(found.length).toBe(c.k === undefined ? found.length : c.k - 1);
    const zeroed: Float32Array[] = [];
    const tile = quantizeApart(w, place, { sparse: found }, { stored: 'f32', fill: 'zero' }, (rest) => {
      zeroed.push(rest);
      return quantizeRows(rest, place, scheme(4));
    });
    expect(tile.sparse!.value).toEqual(golden.values(`${c.case}.value`));
    expect([...zeroed[0]!]).toEqual([...w].map((v, at) => (found.includes(at) ? 0 : v)));
  });
});

const place = { name: 'w', shape: [12, 256] as const, from: 0, to: 12 };
const scheme = (bits: number): MatrixScheme => ({
  kind: 'integer',
  bits,
  symmetric: false,
  granularity: { group: 64 },
  range: 'minmax',
  zero: 'minimum',
  scaleType: 'f32',
});
const rest = (bits: number) => (x: Float32Array) => quantizeRows(x, place, scheme(bits));
const fill = { run: 64 };

describe('Values apart', () => {
  const random = new Random(11);
  const x = Float32Array.from({ length: 12 * 256 }, (_, i) => {
    const isColumn = i % 256 === 17 || i % 256 === 200;
    return 0.1 * random.gaussian() * (isColumn ? 20 : random.uniform() < 0.005 ? 15 : 1) + 0.2;
  });
  const mse = (tile: QuantizedTile): number => compareValues(x, dequantizeTile(tile)).mse;

  it('come back as stored, and the limits of the rest are those of the other values', () => {
    const columns = Int32Array.of(17, 200);
    const sparse = outliersByMagnitude(x, 1);
    for (const [apart, kept] of [
      [{ columns }, (at: number) => columns.includes(at % 256)],
      [{ sparse }, (at: number) => sparse.includes(at)],
      [{ columns, sparse }, (at: number) => columns.includes(at % 256) || sparse.includes(at)],
    ] as const) {
      const tile = quantizeApart(x, place, apart, { stored: 'f32', fill }, rest(3));
      const decoded = dequantizeTile(tile);
      for (let group = 0; group < 48; group++) {
        const others = Array.from({ length: 64 }, (_, i) => group * 64 + i).filter((at) => !kept(at));
        const values = others.map((at) => x[at]!);
        expect(tile.scale!.values[group]!).toBeCloseTo((Math.max(...values) - Math.min(...values)) / 7, 6);
      }
      for (const [at, v] of x.entries()) if (kept(at)) expect(decoded[at]).toBe(v);
    }
  });

  it('leave a smaller error, of columns and of single values', () => {
    const plain = mse(rest(4)(x));
    const columns = mse(quantizeApart(x, place, { columns: Int32Array.of(17, 200) }, { fill }, rest(4)));
    const both = quantizeApart(
      x,
      place,
      { columns: Int32Array.of(17, 200), sparse: outliersByMagnitude(x, 0.9) },
      { fill },
      rest(4),
    );
    expect(columns).toBeLessThan(0.5 * plain);
    expect(mse(both)).toBeLessThan(0.5 * columns);
    const f16 = both.columns!.value;
    expect([...f16].every((v) => Math.fround(v) === v)).toBe(true);
  });

  it('of a tile are those of the whole', () => {
    const threshold = sensitivityThreshold(saliency(x, new Float32Array(256).fill(1)), 1);
    const whole = outliersBySensitivity(x, saliency(x, new Float32Array(256).fill(1)), threshold);
    const part = x.slice(4 * 256, 8 * 256);
    const tile = quantizeApart(
      part,
      { ...place, from: 4, to: 8 },
      { sparse: outliersBySensitivity(part, saliency(part, new Float32Array(256).fill(1)), threshold) },
      { fill },
      (y) => quantizeRows(y, { ...place, from: 4, to: 8 }, scheme(4)),
    );
    const all = dequantizeTile(quantizeApart(x, place, { sparse: whole }, { fill }, rest(4)));
    expect(dequantizeTile(tile)).toEqual(all.slice(4 * 256, 8 * 256));
  });

  it('may be a whole group', () => {
    const columns = Int32Array.from({ length: 64 }, (_, c) => c);
    const decoded = dequantizeTile(quantizeApart(x, place, { columns }, { stored: 'f32', fill }, rest(4)));
    for (let c = 0; c < 64; c++) expect(decoded[c]).toBe(x[c]);
  });

  it('are chosen by statistics: the largest inputs, or those above a threshold', () => {
    const absmax = Float32Array.of(1, 9, 3, 9, 7, 0);
    expect([...outlierColumns(absmax, { count: 3 })]).toEqual([1, 3, 4]);
    expect([...outlierColumns(absmax, { count: 1 })]).toEqual([1]);
    expect([...outlierColumns(absmax, { threshold: 6 })]).toEqual([1, 3, 4]);
    expect([...outlierColumns(absmax, { count: 0 })]).toEqual([]);
    const wide = Float32Array.from({ length: 40 }, (_, i) => 100 - Math.abs(i - 20));
    expect([...outlierColumns(wide, { count: 12 })]).toEqual([14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25]);
    expect(() => outlierColumns(absmax, { count: 7 })).toThrow('0..6');
  });

  it('outside the tile, or too large for their dtype, are refused', () => {
    const of = (apart: object, y = x) => quantizeApart(y, place, apart, { fill }, rest(4));
    expect(() => of({ columns: Int32Array.of(256) })).toThrow('outside the tile');
    expect(() => of({ sparse: Int32Array.of(12 * 256) })).toThrow('outside the tile');
    const huge = x.slice();
    huge[5] = 1e5;
    expect(() => of({ sparse: Int32Array.of(5) }, huge)).toThrow('overflows f16');
    expect(() => sensitivityThreshold(x, 101)).toThrow('0..100');
  });
});
