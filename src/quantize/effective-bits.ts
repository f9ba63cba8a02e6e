/**
 * Bits a value of a quantized form, with everything that is stored for it: codes, scales and zeros with the levels above them, books,
 * indices and what is kept apart. Exact for a given shape, before any value is seen.
 */
import { RecipeError } from '../errors.ts';
import type { Levels, QuantizedTile, Sharing, Stored } from '../quantized/types.ts';
import { bitsOf } from './bits.ts';
import { sharedCount } from './granularity.ts';

export interface LevelForm {
  stored: Stored;
  per: Sharing;
  /** How the offset of double quantization is stored; once a tensor. */
  offset?: Stored;
  parent?: LevelForm;
}

export interface StoredForm {
  shape: readonly [rows: number, cols: number];
  /** Bits of one code. */
  bits: number;
  /** Values that share a code: 1, more for vectors. */
  dim?: number;
  scale?: LevelForm;
  zero?: LevelForm;
  /** Books that are stored with the tensor: entries of `dim` values. A fixed table (NF4) is none. */
  books?: { entries: number; stored: Stored; per: Sharing };
  /** One scale a column (SINQ). */
  columnScale?: Stored;
  /** Group of each column in activation order (g_idx), bits an index. */
  groupIndex?: number;
  /** Values kept apart one by one, with the bits of each place. */
  sparse?: { count: number; stored: Stored; indexBits: number };
  /** Columns kept apart whole. `removed`: the dense part no longer holds codes for them. */
  columns?: { count: number; stored: Stored; indexBits: number; removed?: boolean };
  lowRank?: { rank: number; stored: Stored };
}

/** Bits a value: (codes + levels + books + indices + what is kept apart) / (rows x cols). 0 for an empty matrix. */
export function effectiveBitsOf(form: StoredForm): number {
  const [rows, cols] = form.shape;
  const values = rows * cols;
  if (values === 0) return 0;
  return partsOf(form).reduce((sum, { bits }) => sum + bits, 0) / values;
}

/** What the bits are spent on, for reports; all bits of the tensor, and parts that are there. */
export function partsOf(form: StoredForm): { part: string; bits: number }[] {
  const [rows, cols] = form.shape;
  const { dim = 1, bits, books, sparse, columns, lowRank } = form;
  if (cols % dim !== 0) throw new RecipeError({ what: `rows of ${cols} values do not split into vectors`, value: dim });
  const count = (per: Sharing) => sharedCount(per, { from: 0, to: rows, cols });
  const levels = (level: LevelForm | undefined): number =>
    level ? count(level.per) * bitsOf(level.stored) + (level.offset ? bitsOf(level.offset) : 0) + levels(level.parent) : 0;
  const coded = columns?.removed ? cols - columns.count : cols;
  return [
    { part: 'codes', bits: rows * (coded / dim) * bits },
    { part: 'scales', bits: levels(form.scale) },
    { part: 'zeros', bits: levels(form.zero) },
    { part: 'books', bits: books ? count(books.per) * books.entries * dim * bitsOf(books.stored) : 0 },
    { part: 'column scales', bits: form.columnScale ? cols * bitsOf(form.columnScale) : 0 },
    { part: 'group index', bits: cols * (form.groupIndex ?? 0) },
    { part: 'sparse', bits: sparse ? sparse.count * (bitsOf(sparse.stored) + sparse.indexBits) : 0 },
    { part: 'columns', bits: columns ? columns.count * (rows * bitsOf(columns.stored) + columns.indexBits) : 0 },
    { part: 'low rank', bits: lowRank ? lowRank.rank * (rows + cols) * bitsOf(lowRank.stored) : 0 },
  ].filter((entry) => entry.bits > 0);
}

export interface FormOptions {
  /** How the books of a codebook are stored. Without it they are a fixed table and cost nothing. */
  books?: Stored;
  /** How factors of a low-rank part are stored (f16). */
  lowRank?: Stored;
  /** Bits of a row or column index of what is kept apart (32). */
  indexBits?: number;
}

/**
 * The form of a tile that is the whole matrix. A sparse value has one index (its column, rows by offsets, as CSR counts them).
 * @param codeBits of the tile's grid: `effectiveBits(tile)` knows them
 */
export function formOf(tile: QuantizedTile, codeBits: number, options: FormOptions = {}): StoredForm {
  const { grid, shape, scale, zero, columnScale, sparse, columns, lowRank } = tile;
  const { indexBits = 32, lowRank: lowRankStored = 'f16' } = options;
  const dim = grid.kind === 'codebook' ? grid.dim : 1;
  const form: StoredForm = { shape, bits: codeBits, dim };
  if (scale) form.scale = levelForm(scale);
  if (zero) form.zero = levelForm(zero.levels);
  if (grid.kind === 'codebook' && options.books) {
    const books = sharedCount(grid.per, { from: tile.from, to: tile.to, cols: shape[1] });
    form.books = { entries: grid.values.length / dim / books, stored: options.books, per: grid.per };
  }
  if (columnScale) form.columnScale = 'f32';
  if (scale && 'groupOf' in scale.per) form.groupIndex = 32;
  if (sparse) form.sparse = { count: sparse.value.length, stored: sparse.stored, indexBits };
  if (columns) form.columns = { count: columns.index.length, stored: columns.stored, indexBits };
  if (lowRank) form.lowRank = { rank: lowRank.b.length / shape[1], stored: lowRankStored };
  return form;
}

function levelForm({ stored, per, offset, parent }: Levels): LevelForm {
  return { stored, per, ...(offset !== undefined && { offset: 'f32' }), ...(parent && { parent: levelForm(parent) }) };
}
