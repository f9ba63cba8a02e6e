/**
 * Rows in the kernels' memory while their columns are rounded one after another. Rows do not see each other: how a matrix is cut
 * into rows changes nothing.
 */
import { NumericError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import { floatTypes } from '../../numeric/float.ts';
import { type Factor, TILE, TILE_SIZE, tileOffset, tilesOf } from './factor.ts';

/** What a group of columns of one row is coded with: x̂ = scale (q - before) + minimum with q in [low, low + span]. */
export interface Level {
  scale: number;
  minimum: number;
  /** Added before rounding and taken off after it: a float zero, or an integer one that the container adds there. */
  before: number;
  low: number;
}

/** Cells that no code stands for: they take their target, rounded to the type they are stored in, and feed that error on. */
export interface KeptCells {
  /** [rows, cols], 255 where a cell is kept. */
  mask: Uint8Array;
  stored: keyof typeof decodings;
}

/** What is the same for all rows and groups. */
export interface FeedbackGrid {
  /** Integer grids: the number of codes less one. */
  span: number;
  /** Instead of integers ascending values, [size], or [rows, size] where each row has its own; size: a power of two, at most 256. */
  lists?: { values: Float32Array; size: number };
  /** Values that keep what feedback makes of them. */
  kept?: KeptCells;
  /** How decoded values are rounded. */
  compute: keyof typeof decodings;
  groups: number;
  /** [cols]: the group of the column that is rounded k-th. */
  groupOf: Int32Array;
}

/** As the kernel numbers them. */
const decodings = { f32: 0, f64: 0, f16: 1, bf16: 2 } as const;

/** Rows side by side. */
const ROWS = 8;
/** Bytes of one column of a panel of eight rows, of a panel of a tile, of a tile. */
const COLUMN_BYTES = 4 * ROWS;
const PANEL_BYTES = COLUMN_BYTES * TILE;
const TILE_BYTES = 4 * TILE_SIZE;
/** Values of a level of eight rows: scale, minimum, before, low. */
const LEVEL_SIZE = 4 * ROWS;

export class Feedback {
  readonly tiles: number;
  readonly #kernels: Kernels;
  readonly #factor: Factor;
  readonly #grid: FeedbackGrid;
  readonly #rows: number;
  readonly #panels: number;
  /** Columns, whole tiles. */
  readonly #width: number;
  /** f32[panels][width][8]: the weight, and once a column is rounded ŵ - w. */
  readonly #x: number;
  /** Tiles of a preview, f32[panels][128][8] each, and the feedback on the last of them. */
  readonly #drafts: number[] = [];
  readonly #draftFed: number;
  /** f32[panels][128][8]: the feedback of finished tiles on this one. */
  readonly #fed: number;
  readonly #tile: number;
  readonly #levels: number;
  readonly #groupOf: number;
  readonly #codes: number;
  readonly #roots: number;
  readonly #loss: number;
  readonly #table: number;
  readonly #kept: number;

  /**
   * Reserves memory in the arena; whoever makes it resets the arena afterwards.
   * @param x [rows, cols]; not a view of the arena, which may grow
   */
  constructor(kernels: Kernels, x: Float32Array, factor: Factor, grid: FeedbackGrid) {
    this.#kernels = kernels;
    this.#factor = factor;
    this.#grid = grid;
    this.tiles = tilesOf(factor.cols);
    this.#width = this.tiles * TILE;
    this.#rows = x.length / factor.cols;
    this.#panels = Math.ceil(this.#rows / ROWS);
    const panels = this.#panels;
    this.#x = kernels.alloc(panels * this.#width * COLUMN_BYTES);
    this.#fed = kernels.alloc(panels * PANEL_BYTES);
    this.#draftFed = kernels.alloc(panels * PANEL_BYTES);
    this.#tile = kernels.alloc(TILE_BYTES);
    this.#levels = kernels.alloc(panels * grid.groups * 4 * LEVEL_SIZE);
    this.#groupOf = kernels.alloc(4 * TILE);
    this.#codes = kernels.alloc(panels * this.#width * ROWS);
    this.#roots = kernels.alloc(4 * TILE);
    this.#loss = kernels.alloc(panels * COLUMN_BYTES);
    this.#table = grid.lists ? this.#loadLists(grid.lists) : 0;
    this.#kept = grid.kept ? kernels.alloc(panels * this.#width * ROWS) : 0;
    kernels.f32(this.#levels, panels * grid.groups * LEVEL_SIZE).fill(0);
    kernels.f32(this.#loss, panels * ROWS).fill(0);
    this.#load(x);
    if (grid.kept) this.#loadKept(grid.kept);
  }

  /** Sets the level of a row's group. */
  setLevel(row: number, group: number, { scale, minimum, before, low }: Level): void {
    const { groups } = this.#grid;
    const levels = this.#kernels.f32(this.#levels, this.#panels * groups * LEVEL_SIZE);
    const at = (Math.floor(row / ROWS) * groups + group) * LEVEL_SIZE + (row % ROWS);
    levels[at] = scale;
    levels[at + ROWS] = minimum;
    levels[at + 2 * ROWS] = before;
    levels[at + 3 * ROWS] = low;
  }

  /** Collects what finished tiles feed to tile j. Tiles come in ascending order. */
  enter(j: number): void {
    this.#collect(j, j, this.#fed);
    this.#loadTile(j, j);
  }

  /** Rounds the columns [from, to) of tile j, in processing order counted from the first of the matrix. */
  round(j: number, from: number, to: number): void {
    const { groups, groupOf, span, compute, lists, kept } = this.#grid;
    const kernels = this.#kernels;
    const first = j * TILE;
    kernels.f32(this.#roots, TILE).set(this.#factor.roots.subarray(first, first + TILE));
    const groupsOfTile = new Int32Array(kernels.f32(this.#groupOf, TILE).buffer, this.#groupOf, TILE);
    groupsOfTile.set(groupOf.subarray(first, first + TILE));
    const [x, codes] = [this.#x + first * COLUMN_BYTES, this.#codes + first * ROWS];
    const ownLists = lists !== undefined && lists.values.length > lists.size;
    const table = lists ? [this.#table, ownLists ? 8 * lists.size : 0, Math.log2(lists.size)] : [0, 0, 0];
    const apart = kept ? [this.#kept + first * ROWS, decodings[kept.stored]] : [0, 0];
    const columns = [from - first, to - first, this.#panels] as const;
    const levels = [this.#levels, groups, this.#groupOf, span, decodings[compute]] as const;
    const rows = [x, this.#width, this.#fed, this.#tile] as const;
    kernels.call('feedback_tile', ...rows, ...columns, ...levels, ...table, ...apart, codes, this.#roots, this.#loss);
  }

  /**
   * The weights of columns [first, to) if columns [from, to) were rounded without an error, [rows, to - first]: what GPTQ's
   * matrix holds there once the columns before `from` are done. `from` lies in tile j, which was entered.
   */
  preview(j: number, from: number, first: number, to: number): Float32Array {
    const kernels = this.#kernels;
    const out = new Float32Array(this.#rows * (to - first));
    for (let t = j; t * TILE < to; t++) {
      const at = t * TILE;
      this.#drafts[t - j] ??= kernels.alloc(this.#panels * PANEL_BYTES);
      const draft = this.#drafts[t - j]!;
      if (t > j) {
        this.#collect(t, j, this.#draftFed);
        this.#loadTile(t, t);
      }
      this.#copyTile(t, draft);
      const start = Math.max(from - at, 0);
      const end = Math.min(to - at, TILE);
      const fed = t > j ? this.#draftFed : this.#fed;
      kernels.call('feed_forward', draft, TILE, fed, this.#tile, start, end, this.#panels);
      this.#addFed(draft, t, Math.max(first, at), at + end, first, out, to - first);
    }
    if (to > (j + 1) * TILE) this.#loadTile(j, j);
    return out;
  }

  /** [rows, cols], in the columns' own order. */
  codes(): Uint8Array {
    const out = new Uint8Array(this.#rows * this.#factor.cols);
    const codes = this.#kernels.bytes(this.#codes, this.#panels * this.#width * ROWS);
    this.#each((cell, at) => {
      out[at] = codes[cell]!;
    });
    return out;
  }

  /** What became of cells that are kept, [rows, cols] in the columns' own order; 0 elsewhere. x: what the rows were made with */
  keptValues(x: Float32Array, { mask, stored }: KeptCells): Float32Array {
    const { cols, dead } = this.#factor;
    const { round } = floatTypes[stored];
    const out = new Float32Array(x.length);
    const errors = this.#kernels.f32(this.#x, this.#panels * this.#width * ROWS);
    this.#each((cell, at) => {
      if (mask[at]) out[at] = round(Math.fround((dead[at % cols] ? 0 : x[at]!) + errors[cell]!));
    });
    return out;
  }

  /**
   * (w - ŵ) (H + damp) (w - ŵ)' of each row.
   * @throws NumericError when feedback left the finite numbers
   */
  losses(name: string): Float32Array {
    const loss = this.#kernels.f32(this.#loss, this.#panels * ROWS).slice(0, this.#rows);
    const bad = loss.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) {
      const next = 'raise damp, or keep this tensor as it is';
      throw new NumericError({ what: 'error feedback overflows', where: name, value: `row ${bad} of a tile`, next });
    }
    return loss;
  }

  #load(x: Float32Array): void {
    const { cols, dead } = this.#factor;
    const cells = this.#kernels.f32(this.#x, this.#panels * this.#width * ROWS);
    cells.fill(0);
    this.#each((cell, at) => {
      cells[cell] = dead[at % cols] ? 0 : x[at]!;
    });
  }

  #loadKept({ mask }: KeptCells): void {
    const cells = this.#kernels.bytes(this.#kept, this.#panels * this.#width * ROWS);
    cells.fill(0);
    this.#each((cell, at) => {
      cells[cell] = mask[at]!;
    });
  }

  /** Calls `visit` with the place of every cell in the panels, and in a matrix [rows, cols] of columns in their own order. */
  #each(visit: (cell: number, at: number) => void): void {
    const { cols, order } = this.#factor;
    for (let row = 0; row < this.#rows; row++) {
      const first = Math.floor(row / ROWS) * this.#width * ROWS + (row % ROWS);
      for (let k = 0; k < cols; k++) visit(first + k * ROWS, row * cols + order[k]!);
    }
  }

  /** f32[lists][2][size]: values, and the middles above them. */
  #loadLists({ values, size }: NonNullable<FeedbackGrid['lists']>): number {
    // The lists of rows that fill the last panel are read, whatever they hold.
    const count = values.length > size ? this.#panels * ROWS : 1;
    const at = this.#kernels.alloc(8 * size * count);
    const table = this.#kernels.f32(at, 2 * size * count).fill(0);
    for (let first = 0, to = 0; first < values.length; first += size, to += 2 * size) {
      for (let i = 0; i < size; i++) {
        const value = values[first + i]!;
        const next = i + 1 < size ? values[first + i + 1]! : value;
        table[to + i] = value;
        table[to + size + i] = next > value ? (value + next) / 2 : Number.POSITIVE_INFINITY;
      }
    }
    return at;
  }

  #loadTile(i: number, j: number): void {
    const at = tileOffset(this.tiles, i, j);
    this.#kernels.f32(this.#tile, TILE_SIZE).set(this.#factor.matrix.subarray(at, at + TILE_SIZE));
  }

  /** fed = -(ŵ - w) S[.., tile j] over the tiles before j, those from `firstDraft` on as the drafts hold them. */
  #collect(j: number, firstDraft: number, fed: number): void {
    const kernels = this.#kernels;
    kernels.f32(fed, this.#panels * TILE * ROWS).fill(0);
    for (let i = 0; i < j; i++) {
      this.#loadTile(i, j);
      const isDraft = i >= firstDraft;
      const x = isDraft ? this.#drafts[i - firstDraft]! : this.#x + i * PANEL_BYTES;
      const step = isDraft ? PANEL_BYTES : this.#width * COLUMN_BYTES;
      kernels.call('subtract_product', x, step, this.#tile, fed, PANEL_BYTES, this.#panels);
    }
  }

  #copyTile(j: number, to: number): void {
    for (let panel = 0; panel < this.#panels; panel++) {
      const from = this.#x + panel * this.#width * COLUMN_BYTES + j * PANEL_BYTES;
      this.#kernels.bytes(to + panel * PANEL_BYTES, PANEL_BYTES).set(this.#kernels.bytes(from, PANEL_BYTES));
    }
  }

  /** out[row, k - first] = weight + feedback of the columns [from, to), which lie in tile j. */
  #addFed(draft: number, j: number, from: number, to: number, first: number, out: Float32Array, width: number): void {
    const x = this.#kernels.f32(this.#x, this.#panels * this.#width * ROWS);
    const fed = this.#kernels.f32(draft, this.#panels * TILE * ROWS);
    for (let row = 0; row < this.#rows; row++) {
      const [panel, lane] = [Math.floor(row / ROWS), row % ROWS];
      for (let k = from; k < to; k++) {
        const weight = x[(panel * this.#width + k) * ROWS + lane]!;
        out[row * width + k - first] = weight + fed[(panel * TILE + k - j * TILE) * ROWS + lane]!;
      }
    }
  }
}
