/** The tile kernels of error feedback beside their references, bit by bit. */
import { describe, expect, it } from 'vitest';
import { roundBf16 } from '../numeric/bf16.ts';
import { roundF16 } from '../numeric/f16.ts';
import { Random } from '../numeric/random.ts';
import { loadKernels } from './kernels.ts';
import { feedbackRow, feedForward, type ReferenceLevel } from './ref/feedback.ref.ts';
import { factorTile, fromPanels, solveTile, subtractProduct, TILE, toPanels } from './ref/tiles.ref.ts';

const kernels = await loadKernels();
const SIZE = TILE * TILE;
const PANEL = TILE * 8;

function gaussian(n: number, seed: number, gain = 1): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => gain * random.gaussian());
}

/** Puts arrays into the arena, calls, and gives views of them back. */
function inArena<T>(arrays: Float32Array[], call: (...at: number[]) => T): { result: T; arrays: Float32Array[] } {
  const mark = kernels.mark();
  const at = arrays.map((array) => kernels.alloc(array.byteLength));
  for (const [i, array] of arrays.entries()) kernels.f32(at[i]!, array.length).set(array);
  const result = call(...at);
  const out = arrays.map((array, i) => kernels.f32(at[i]!, array.length).slice());
  kernels.reset(mark);
  return { result, arrays: out };
}

/** x xᵀ / 128 + I / 10, symmetric to the bit. */
function positive(seed: number): Float32Array {
  const x = gaussian(SIZE, seed);
  const h = new Float32Array(SIZE);
  for (let i = 0; i < TILE; i++) {
    for (let j = i; j < TILE; j++) {
      let sum = i === j ? 0.1 : 0;
      for (let k = 0; k < TILE; k++) sum += (x[i * TILE + k]! * x[j * TILE + k]!) / TILE;
      h[i * TILE + j] = h[j * TILE + i] = sum;
    }
  }
  return h;
}

describe('tiles', () => {
  it('subtract_product', () => {
    const [a, b, c] = [1, 2, 3].map((seed) => gaussian(SIZE, seed)) as [Float32Array, Float32Array, Float32Array];
    const { arrays } = inArena(
      [a, b, c].map((x) => toPanels(x)),
      (at, bt, ct) => kernels.call('subtract_product', at!, 4096, bt!, ct!, 4096, 16),
    );
    expect(fromPanels(arrays[2]!)).toEqual(subtractProduct(a, b, c));
  });

  it("factor_tile: the reference, and R R' = C", () => {
    const c = positive(4);
    const { result, arrays } = inArena([toPanels(c)], (at) => kernels.call('factor_tile', at!));
    expect(result).toBe(-1);
    const r = fromPanels(arrays[0]!).map((x, at) => (at % TILE >= Math.floor(at / TILE) ? x : 0));
    expect(r).toEqual(factorTile(c));
    for (let i = 0; i < TILE; i += 7) {
      for (let j = 0; j < TILE; j++) {
        let sum = 0;
        for (let k = 0; k < TILE; k++) sum += r[i * TILE + k]! * r[j * TILE + k]!;
        expect(Math.abs(sum - c[i * TILE + j]!)).toBeLessThan(1e-5);
      }
    }
  });

  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('factor_tile refuses the pivot %f', (pivot) => {
    for (const row of [0, 5, 127]) {
      const c = Float32Array.from({ length: SIZE }, (_, at) => (at % (TILE + 1) === 0 ? 1 : 0));
      c[row * (TILE + 1)] = pivot;
      expect(inArena([toPanels(c)], (at) => kernels.call('factor_tile', at!)).result).toBe(row & ~3);
      expect(factorTile(c)).toBeUndefined();
    }
  });

  it.each([128, 131, 2048])('pack_tile of rows with %i columns, and transpose_tile', (cols) => {
    const rows = gaussian(TILE * cols, 11);
    const { arrays } = inArena([rows, new Float32Array(SIZE), new Float32Array(SIZE)], (from, packed, turned) => {
      kernels.call('pack_tile', from!, 4 * cols, packed!);
      kernels.call('transpose_tile', packed!, turned!);
    });
    const tile = Float32Array.from({ length: SIZE }, (_, at) => rows[Math.floor(at / TILE) * cols + (at % TILE)]!);
    expect(arrays[1]).toEqual(toPanels(tile, true));
    expect(arrays[2]).toEqual(toPanels(tile));
  });

  it('solve_tile leaves panels beyond its count alone', () => {
    const r = toPanels(factorTile(positive(5))!);
    const c = toPanels(gaussian(SIZE, 6));
    const solve = (panels: number) =>
      inArena([c, r], (at, diagonal) => kernels.call('solve_tile', at!, diagonal!, panels)).arrays[0]!;
    const [all, three] = [solve(16), solve(3)];
    expect(three.subarray(0, 3 * PANEL)).toEqual(all.subarray(0, 3 * PANEL));
    expect(three.subarray(3 * PANEL)).toEqual(c.subarray(3 * PANEL));
  });

  it('solve_tile and unit_tile', () => {
    const r = factorTile(positive(5))!;
    const c = gaussian(SIZE, 6);
    const solved = inArena([toPanels(c), toPanels(r)], (at, diagonal) => kernels.call('solve_tile', at!, diagonal!, 16));
    const x = solveTile(c, r);
    expect(fromPanels(solved.arrays[0]!)).toEqual(x);

    const roots = Float32Array.from({ length: TILE }, (_, i) => r[i * (TILE + 1)]!);
    for (const [tile, corner] of [
      [x, 0],
      [r, 1],
    ] as const) {
      const call = (from: number, at: number, out: number) => kernels.call('unit_tile', from, at, corner, out);
      const { arrays } = inArena([toPanels(tile), roots, tile], (from, at, out) => call(from!, at!, out!));
      const wanted = tile.map((value, at) => {
        const [i, j] = [Math.floor(at / TILE), at % TILE];
        if (!corner || i < j) return value / roots[j]!;
        return i === j ? 1 : 0;
      });
      expect(fromPanels(arrays[2]!, true)).toEqual(wanted);
    }
  });
});

/** Without the values at the end that repeat. */
function distinct(list: Float32Array): Float32Array {
  return list.filter((value, i) => i === 0 || value > list[i - 1]!);
}

describe('feedback in a tile', () => {
  const s = gaussian(SIZE, 7, 0.1).map((value, at) =>
    at % TILE > Math.floor(at / TILE) ? value : at % (TILE + 1) === 0 ? 1 : 0,
  );
  const panels = 2;
  const rows = panels * 8;
  const x = gaussian(rows * TILE, 8); // [rows, 128]
  const fed = gaussian(rows * TILE, 9, 0.3);
  const roots = gaussian(TILE, 10).map(Math.abs);
  /** [rows, 128] to [panels][128][8] and back. */
  const gather = (a: Float32Array): Float32Array => a.map((_, at) => a[((at >> 10) * 8 + (at & 7)) * TILE + ((at >> 3) & 127)]!);
  const row = (a: Float32Array, r: number): Float32Array =>
    Float32Array.from({ length: TILE }, (_, k) => a[(r >> 3) * PANEL + k * 8 + (r & 7)]!);
  const of = (a: Float32Array, r: number): Float32Array => a.subarray(r * TILE, (r + 1) * TILE);

  it.each([
    [0, 128],
    [0, 3],
    [5, 6],
    [30, 101],
    [126, 128],
  ])('feed_forward of columns %i to %i', (from, to) => {
    const run = (xt: number, ft: number, st: number) => kernels.call('feed_forward', xt, TILE, ft, st, from, to, panels);
    const { arrays } = inArena([gather(x), gather(fed), toPanels(s, true)], (xt, ft, st) => run(xt!, ft!, st!));
    for (let r = 0; r < rows; r++) expect(row(arrays[0]!, r)).toEqual(feedForward(of(x, r), of(fed, r), s, from, to));
  });

  const groups = 4;
  /** Every kind of level: a minimum, something added before rounding, a scale of 0, a negative one. */
  const levelOf = (r: number, group: number): ReferenceLevel => ({
    scale: [0.25, Math.fround(0.3), 0, -0.5][(r + group) % 4]!,
    minimum: group % 2 ? Math.fround(-0.7) : 0,
    before: group === 2 ? 7.25 : 0,
    low: -(r % 5),
  });
  const levels = new Float32Array(panels * groups * 32); // [panels][groups][4][8]
  for (let r = 0; r < rows; r++) {
    for (let group = 0; group < groups; group++) {
      const at = ((r >> 3) * groups + group) * 32 + (r & 7);
      Object.values(levelOf(r, group)).forEach((value, i) => {
        levels[at + 8 * i] = value;
      });
    }
  }
  const groupOf = Int32Array.from({ length: TILE }, (_, k) => (k * 7) % groups);
  /** Ascending values of a row, twice the same where lists are short; 16 entries, or 4. */
  const listOf = (r: number, size: number): Float32Array =>
    Float32Array.from({ length: size }, (_, i) =>
      Math.fround((Math.min(i, size - (r % 3)) - size / 2) ** 3 / (6 * size) + r / 100),
    );
  /** f32[lists][2][size] */
  const tableOf = (lists: Float32Array[]): Float32Array =>
    Float32Array.from(
      lists.flatMap((list) => [
        ...list,
        ...list.map((value, i) => (list[i + 1]! > value ? (value + list[i + 1]!) / 2 : Number.POSITIVE_INFINITY)),
      ]),
    );
  const decodings = [Math.fround, roundF16, roundBf16];
  const isKept = (r: number, column: number): boolean => (r * 31 + column * 7) % 9 === 0;
  const mask = new Uint8Array(panels * PANEL); // [panels][128][8]
  for (let at = 0; at < mask.length; at++) mask[at] = isKept((at >> 10) * 8 + (at & 7), (at >> 3) & 127) ? 255 : 0;

  it.each([
    { what: 'integers', decode: 0 },
    { what: 'integers decoded in f16', decode: 1 },
    { what: 'integers decoded in bf16', decode: 2 },
    { what: 'a list', decode: 0, size: 16 },
    { what: 'a short list', decode: 1, size: 4 },
    { what: 'a list for each row', decode: 0, size: 16, own: true },
    { what: 'integers beside kept cells', decode: 0, kept: 1 },
    { what: 'lists beside kept cells in bf16', decode: 0, size: 4, own: true, kept: 2 },
    { what: 'lists beside kept cells in f32', decode: 2, size: 256, kept: 0 },
  ])('feedback_tile: $what', ({ decode, size = 0, own = false, kept }) => {
    const lists = Array.from({ length: own ? rows : 1 }, (_, r) => listOf(r, size));
    for (const [from, to] of [
      [0, 128],
      [37, 38],
      [9, 90],
    ] as const) {
      const bits = new Float32Array(groupOf.buffer);
      const codes = new Float32Array((panels * PANEL) / 4);
      const loss = new Float32Array(rows);
      const apart = new Float32Array(mask.buffer);
      const given = [gather(x), gather(fed), toPanels(s, true), levels, bits, tableOf(lists), apart, codes, roots, loss];
      const { arrays } = inArena(given, (...at) => {
        const [xt, ft, st, lt, gt, tt, kt, ct, rt, sumt] = at as [
          ...[number, number, number, number, number],
          ...[number, number, number, number, number],
        ];
        const table = size ? [tt, own ? 8 * size : 0, Math.log2(size)] : [0, 0, 0];
        const keeping = kept === undefined ? [0, 0] : [kt, kept];
        const level = [lt, groups, gt, 15, decode];
        kernels.call('feedback_tile', xt, TILE, ft, st, from, to, panels, ...level, ...table, ...keeping, ct, rt, sumt);
      });
      const bytes = new Uint8Array(arrays[7]!.buffer);
      for (let r = 0; r < rows; r++) {
        const grid = size ? { codebook: distinct(lists[own ? r : 0]!) } : { span: 15 };
        const keeps = (column: number) => (kept !== undefined && isKept(r, column) ? decodings[kept] : undefined);
        const level = (column: number) => levelOf(r, groupOf[column]!);
        const wanted = feedbackRow(of(x, r), of(fed, r), s, [from, to], level, grid, roots, decodings[decode], keeps);
        expect(row(arrays[0]!, r)).toEqual(wanted.x);
        expect(Array.from({ length: to - from }, (_, k) => bytes[(r >> 3) * PANEL + (from + k) * 8 + (r & 7)])).toEqual(
          wanted.codes,
        );
        expect(arrays[9]![r]).toBe(wanted.loss);
      }
    }
  });
});
