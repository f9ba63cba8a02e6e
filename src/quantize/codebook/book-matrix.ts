/**
 * Learned codebooks: the values that codes stand for are fitted to the matrix. Single values (non-uniform quantization, SqueezeLLM,
 * arXiv 2306.07629), pairs and quads (vector quantization), and one book for every few columns (product quantization).
 */
import { RecipeError } from '../../errors.ts';
import type { Levels, QuantizedTile, Sharing } from '../../quantized/types.ts';
import { sharedCount, spreadRow } from '../granularity.ts';
import { tableOfValues } from '../grid/nearest.ts';
import { checkRows, type GridGranularity, runsOf, tensorAbsmax } from '../grid/place.ts';
import { absmaxOf, encodeRun, rmsOf } from '../grid/runs.ts';
import { storedScale } from '../grid/table-matrix.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { storedValue } from '../stored-value.ts';
import { centersOf } from './cluster-line.ts';
import { assignVectors, clusterVectors, type Vectors } from './cluster-vectors.ts';

/** A rectangle of rows x cols that shares a book; 0: all. */
export interface BookSharing {
  rows: number;
  cols: number;
}

export interface CodebookOptions {
  /** Bits of a code, 1..16: a book has 2^bits entries. A value takes bits / dim. */
  bits: number;
  /** Values of an entry: 1 (default), 2, 4 ... consecutive columns. */
  dim?: number;
  /** One book for the tensor { rows: 0, cols: 0 }, each row { 1, 0 }, each group { 1, g }, each run of columns { 0, n } (product). */
  per: BookSharing;
  /** Weight of each squared error: [cols] (mean squares of the inputs, diag(H)) or [to - from, cols] (squared gradients). */
  importance?: Float32Array;
  /** Books are learned of x / scale. Without it the scale is 1. */
  scale?: { granularity: GridGranularity; by: 'absmax' | 'rms'; scaleType?: 'f32' | 'f16' | 'bf16' };
  /** How entries are stored (f32); codes belong to the stored ones. */
  stored?: 'f32' | 'f16' | 'bf16';
  /** Books that were learned before, [books, 2^bits, dim]: what tiles of a matrix that share them need. */
  books?: Float32Array;
  /** Vectors: seed of the start (0), rounds (25), and how many vectors at most a book is learned of (65,536). */
  seed?: number;
  rounds?: number;
  sample?: number;
}

/**
 * Learns books and encodes with them. Single values get the best book there is (see `centersOf`), vectors a local optimum.
 * @param x [to - from, cols]
 * @throws RecipeError where books span more rows than the tile and are not given, or sizes do not fit; NumericError for NaN and Inf
 */
export function quantizeToCodebook(x: Float32Array, place: TilePlace, options: CodebookOptions): QuantizedTile {
  const { work, scale } = prepared(x, place, options);
  const values = options.books ?? learned(work, options);
  const { dim = 1, bits, per } = options;
  const { name, shape, from, to } = place;
  const size = 2 ** bits * dim;
  const codes = bits <= 8 ? new Uint8Array(x.length / dim) : new Uint16Array(x.length / dim); // [to - from, cols / dim]
  if (values.length !== size * work.books) {
    throw new RecipeError({
      what: `${work.books} books of ${2 ** bits} entries of ${dim} do not have this many values`,
      where: name,
      value: values.length,
      limit: size * work.books,
    });
  }
  for (let book = 0; book < work.books; book++) {
    const { value, weight } = gathered(work, book);
    const cells = cellsOf(work, book);
    const own = values.subarray(book * size, (book + 1) * size);
    const labels = bits <= 8 ? new Uint8Array(cells.length) : new Uint16Array(cells.length);
    if (dim === 1) encodeRun(tableOfValues(own), value, 0, value.length, 1, { compute: 'f64', divide: 'divide' }, labels);
    else assignVectors({ value, dim, ...(weight && { weight }) }, own, labels);
    for (let i = 0; i < cells.length; i++) codes[cells[i]!] = labels[i]!;
  }
  return { name, shape, from, to, grid: { kind: 'codebook', values, dim, per }, codes, scale };
}

/** The books alone, [books, 2^bits, dim]; single values in ascending order. */
export function learnBooks(x: Float32Array, place: TilePlace, options: CodebookOptions): Float32Array {
  return learned(prepared(x, place, options).work, options);
}

/** Values divided by their scales, their weights, and where books lie. */
interface Work {
  /** For messages. */
  name: string;
  x: Float32Array;
  /** [rows of the tile, cols] or [cols] */
  weights: Float32Array | undefined;
  /** Scale of every value, [rows of the tile, cols], where there are scales: weights of x / s are w s². */
  spread: Float32Array | undefined;
  rows: number;
  cols: number;
  dim: number;
  /** Rows and columns of a book, and how many books lie side by side. */
  high: number;
  wide: number;
  across: number;
  books: number;
  /** How many books of the matrix come before: what a book starts from does not depend on the tile. */
  before: number;
}

function prepared(x: Float32Array, place: TilePlace, options: CodebookOptions): { work: Work; scale: Levels } {
  checkRows(x, place);
  const { name, shape, from, to } = place;
  const [rows, cols] = shape;
  const { bits, dim = 1, per, importance } = options;
  const refuse = (what: string, value: unknown, next?: string) =>
    new RecipeError({ what, where: name, value, ...(next && { next }) });
  if (!Number.isInteger(bits) || bits < 1 || bits > 16) throw refuse('a codebook has 1 to 16 bits a code', bits);
  if (!Number.isInteger(dim) || dim < 1 || cols % dim !== 0) {
    throw refuse(`rows of ${cols} values do not split into vectors`, dim, 'choose a length that divides the columns');
  }
  const wide = per.cols === 0 ? cols : per.cols;
  if (wide % dim !== 0) throw refuse(`books of ${wide} columns do not hold whole vectors`, dim);
  const isPart = per.rows === 0 ? from !== 0 || to !== rows : from % per.rows !== 0 || (to % per.rows !== 0 && to !== rows);
  if (isPart && !options.books) {
    throw refuse('a book is learned of all rows that share it', [from, to], 'learn it before, or begin tiles where books do');
  }
  if (importance && importance.length !== cols && importance.length !== x.length) {
    throw refuse(`importance is neither [${cols}] nor [${to - from}, ${cols}]`, importance.length);
  }
  const wrong = importance?.findIndex((weight) => !(weight >= 0 && weight < Number.POSITIVE_INFINITY)) ?? -1;
  if (wrong >= 0) throw refuse('an importance is negative or not finite', importance![wrong]);
  const scaled = scaledValues(x, place, options.scale);
  const high = per.rows === 0 ? Math.max(to - from, 1) : per.rows;
  const work: Work = {
    name,
    x: scaled.x,
    weights: importance,
    spread: scaled.spread,
    rows: to - from,
    cols,
    dim,
    high,
    wide,
    across: Math.ceil(cols / wide),
    books: sharedCount(per, { from, to, cols }),
    before: per.rows === 0 ? 0 : Math.floor(from / per.rows) * Math.ceil(cols / wide),
  };
  // Tiles with given books may begin inside of one; then every row is looked up by itself.
  if (isPart && per.rows > 1)
    throw refuse('a tile begins inside the rows of a book', from, `begin tiles at multiples of ${per.rows}`);
  return { work, scale: scaled.scale };
}

function scaledValues(
  x: Float32Array,
  place: TilePlace,
  how: CodebookOptions['scale'],
): { x: Float32Array; spread: Float32Array | undefined; scale: Levels } {
  const whole: Sharing = { rows: 0, cols: 0 };
  if (!how) return { x, spread: undefined, scale: { values: Float32Array.of(1), stored: 'f32', per: whole } };
  const { name, from, to, shape } = place;
  const cols = shape[1];
  const { granularity, by, scaleType = 'f32' } = how;
  const { per, run } = runsOf(granularity, x, place);
  const values = new Float32Array(sharedCount(per, { from, to, cols }));
  const out = new Float32Array(x.length);
  for (let level = 0, start = 0; start < x.length; level++, start += run) {
    const end = Math.min(start + run, x.length);
    const isWhole = granularity === 'tensor' && by === 'absmax';
    const size = isWhole ? tensorAbsmax(x, place) : by === 'absmax' ? absmaxOf(x, start, end) : rmsOf(x, start, end);
    const scale = storedScale(size, scaleType, () => `${name}, value ${start} of the tile`);
    values[level] = scale;
    if (scale > 0) for (let i = start; i < end; i++) out[i] = x[i]! / scale;
  }
  const spread = new Float32Array(x.length);
  for (let row = from, at = 0; row < to; row++, at += cols) {
    spreadRow(values, per, { from, to, cols }, row, spread.subarray(at, at + cols));
  }
  return { x: out, spread, scale: { values, stored: scaleType, per } };
}

/** The rows [top, bottom) and columns [left, right) of a book. */
function partOf({ rows, cols, high, wide, across }: Work, book: number) {
  const top = Math.floor(book / across) * high;
  const left = (book % across) * wide;
  return { top, bottom: Math.min(top + high, rows), left, right: Math.min(left + wide, cols) };
}

/** Where the codes of a book lie, row after row, [n]. */
function cellsOf(work: Work, book: number): Uint32Array {
  const { top, bottom, left, right } = partOf(work, book);
  const { cols, dim } = work;
  const cells = new Uint32Array(((bottom - top) * (right - left)) / dim);
  let cell = 0;
  for (let row = top; row < bottom; row++) for (let c = left; c < right; c += dim) cells[cell++] = (row * cols + c) / dim;
  return cells;
}

/** The vectors of one book, row after row: values and weights [n, dim]. */
function gathered(work: Work, book: number): { value: Float32Array; weight: Float32Array | undefined } {
  const { x, weights, spread, rows, cols } = work;
  const { top, bottom, left, right } = partOf(work, book);
  const n = (bottom - top) * (right - left);
  const value = new Float32Array(n);
  const weight = weights || spread ? new Float32Array(n) : undefined;
  const byColumn = weights?.length === cols && rows * cols !== cols;
  for (let row = top, at = 0; row < bottom; row++) {
    const base = row * cols;
    value.set(x.subarray(base + left, base + right), at);
    if (weight) {
      for (let c = left; c < right; c++) {
        const s = spread ? spread[base + c]! : 1;
        weight[at + c - left] = (weights ? weights[byColumn ? c : base + c]! : 1) * s * s;
      }
    }
    at += right - left;
  }
  return { value, weight };
}

function learned(work: Work, options: CodebookOptions): Float32Array {
  const { bits, dim = 1, stored = 'f32', seed = 0, rounds, sample = 65536 } = options;
  const entries = 2 ** bits;
  const out = new Float32Array(work.books * entries * dim);
  for (let book = 0; book < work.books; book++) {
    const { value, weight } = gathered(work, book);
    const at = book * entries * dim;
    if (dim === 1) out.set(centersOf(value, entries, weight), at);
    else {
      const vectors = sampled({ value, dim, ...(weight && { weight }) }, Math.max(sample, 4 * entries));
      out.set(
        clusterVectors(vectors, entries, { seed: seed + work.before + book, ...(rounds !== undefined && { rounds }) }).centers,
        at,
      );
    }
  }
  return out.map((value, i) =>
    storedValue(stored, value, 'a value of a codebook', `${work.name}, book ${work.before + Math.floor(i / (entries * dim))}`),
  );
}

/** At most `most` vectors, evenly spread over all. */
function sampled({ value, weight, dim }: Vectors, most: number): Vectors {
  const n = value.length / dim;
  if (n <= most) return { value, dim, ...(weight && { weight }) };
  const pick = (from: Float32Array) => {
    const out = new Float32Array(most * dim);
    for (let i = 0; i < most; i++) {
      const source = Math.floor((i * n) / most) * dim;
      for (let d = 0; d < dim; d++) out[i * dim + d] = from[source + d]!;
    }
    return out;
  };
  return { value: pick(value), dim, ...(weight && { weight: pick(weight) }) };
}
