/**
 * SpQR (Dettmers et al., arXiv 2306.03078, algorithm 1) as its authors' spqr_engine.py does it: GPTQ with small groups whose levels
 * leave likely outliers out; a weight whose error counts more than a threshold keeps its value and feeds no error on.
 */
import { RecipeError } from '../../errors.ts';
import type { QuantizedTile, Sharing } from '../../quantized/types.ts';
import { checkFinite } from '../check.ts';
import { runLength } from '../granularity.ts';
import { integerGrid } from '../grid/integer.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { type Factor, TILE, tileOffset, tilesOf } from '../rounding/factor.ts';
import { type StoredFloat, storedValue } from '../stored-value.ts';
import {
  emptyLevels,
  levelWithoutOutliers,
  type QuantizedLevels,
  quantizeLevels,
  reachingLevel,
  spqrCode,
} from './spqr-levels.ts';

export interface SpqrOptions {
  /** 1..8 */
  bits: number;
  /** Columns that share a level, in the order of the factor: a divisor of 128 (the paper has 16). */
  group: number;
  /** Of the squared error as it counts, from `spqrThreshold`; Infinity: no outliers. */
  threshold: number;
  /** Levels of all values, outliers included, which is faster. */
  simplified?: boolean;
  /** Scales and zeros of `rows` rows (16) in so many bits under floats of their own. */
  levels?: { scaleBits: number; zeroBits: number; rows?: number };
  /** How the outliers and the levels of the last floor are stored (f32). */
  stored?: StoredFloat;
}

export interface SpqrTile {
  /** Scales and zeros are the effective ones; outliers are in `sparse`. */
  tile: QuantizedTile;
  /** What the effective levels are made of, with `levels`. */
  scale?: QuantizedLevels;
  zero?: QuantizedLevels;
}

/**
 * Rounds rows [place.from, place.to). A tile's rows must be whole runs of `levels.rows`.
 * @param x [to - from, cols]
 * @param factor of any Hessian; of that of `deadInputsLast` it is SpQR's own
 * @throws NumericError for NaN, Inf or values that overflow their dtype, RecipeError for groups, rows or a factor that do not fit
 */
export function spqrRows(x: Float32Array, place: TilePlace, options: SpqrOptions, factor: Factor): SpqrTile {
  const { name, shape, from, to } = place;
  const cols = shape[1];
  checkShapes(x, place, options, factor);
  checkFinite(x, name, from, cols);
  const work = new Spqr(x, to - from, options, factor, name);
  for (let tile = 0; tile < tilesOf(cols); tile++) work.roundTile(tile);
  return { tile: { ...work.tile(), name, shape, from, to }, ...work.nested };
}

function checkShapes(
  x: Float32Array,
  { name, shape, from, to }: TilePlace,
  { group, levels }: SpqrOptions,
  factor: Factor,
): void {
  const cols = shape[1];
  runLength({ group }, cols, name);
  if (TILE % group !== 0 && cols > TILE) {
    throw new RecipeError({
      what: 'groups of this size cross the tiles of the factor',
      where: name,
      value: group,
      limit: `a divisor of ${TILE}`,
    });
  }
  if (factor.cols !== cols) {
    throw new RecipeError({
      what: 'the Hessian has another width than the weight',
      where: name,
      value: factor.cols,
      limit: cols,
    });
  }
  if (x.length !== (to - from) * cols) {
    throw new RecipeError({ what: 'the values do not fill the rows', where: name, value: x.length, limit: (to - from) * cols });
  }
  const rows = levels?.rows ?? 16;
  if (levels && (from % rows !== 0 || (to % rows !== 0 && to !== shape[0]))) {
    throw new RecipeError({
      what: 'a tile cuts rows that share quantized levels',
      where: name,
      value: [from, to],
      limit: `multiples of ${rows}`,
    });
  }
}

class Spqr {
  readonly nested: { scale?: QuantizedLevels; zero?: QuantizedLevels };
  readonly #options: SpqrOptions;
  readonly #factor: Factor;
  readonly #rows: number;
  readonly #groups: number;
  readonly #most: number;
  readonly #cast: (x: number) => number;
  /** [rows, cols] in processing order: the weights, and what feedback makes of those that are not yet rounded. */
  readonly #weights: Float64Array;
  readonly #targets: Float64Array;
  /** [rows, groups] */
  readonly #scales: Float32Array;
  readonly #zeros: Float32Array;
  /** [rows, cols], in the columns' own order */
  readonly #codes: Uint8Array;
  readonly #isOutlier: Uint8Array;
  readonly #kept: Float32Array;

  constructor(x: Float32Array, rows: number, options: SpqrOptions, factor: Factor, name: string) {
    const { cols, order, dead } = factor;
    const { levels } = options;
    this.#options = options;
    this.#factor = factor;
    this.#rows = rows;
    this.#groups = cols / options.group;
    this.#most = 2 * integerGrid(options.bits, false).half - 1;
    this.#cast = (value) => storedValue(options.stored ?? 'f32', value, 'a level or an outlier', name);
    this.#weights = Float64Array.from(x, (_, at) => {
      const column = order[at % cols]!;
      return dead[column] ? 0 : x[at - (at % cols) + column]!;
    });
    this.#targets = this.#weights.slice();
    this.#scales = new Float32Array(rows * this.#groups);
    this.#zeros = new Float32Array(rows * this.#groups);
    this.#codes = new Uint8Array(x.length);
    this.#isOutlier = new Uint8Array(x.length);
    this.#kept = new Float32Array(x.length);
    const nest = (bits: number) => emptyLevels(bits, levels?.rows ?? 16, rows, this.#groups);
    this.nested = levels ? { scale: nest(levels.scaleBits), zero: nest(levels.zeroBits) } : {};
  }

  /** Columns [128 tile, ...): groups that start here get their levels from the errors of finished columns, then columns are rounded. */
  roundTile(tile: number): void {
    const { cols } = this.#factor;
    const { group } = this.#options;
    const first = tile * TILE;
    const end = Math.min(first + TILE, cols);
    const panel = this.#panel(tile, first, end); // [end - first, cols - first]
    const differences = new Float64Array(this.#rows * (end - first));
    for (let from = first; from < end; ) {
      if (from % group === 0) this.#findLevels(from / group, first, panel);
      const to = Math.min(end, from - (from % group) + group);
      for (let row = 0; row < this.#rows; row++) this.#roundRun(row, from, to, first, end, panel, differences);
      from = to;
    }
    this.#feedOn(first, end, panel, differences);
  }

  /** S of the rows [first, end), columns [first, cols). */
  #panel(tile: number, first: number, end: number): Float64Array {
    const { cols, matrix } = this.#factor;
    const width = cols - first;
    const panel = new Float64Array((end - first) * width);
    for (let k = first; k < cols; k++) {
      const at = tileOffset(tilesOf(cols), tile, k >> 7) + ((k & 127) >> 3) * TILE * 8 + (k & 7);
      for (let r = 0; r < end - first; r++) panel[r * width + k - first] = matrix[at + r * 8]!;
    }
    return panel;
  }

  /** Levels of the columns [group size, ...) as they are when the errors of all columns before are spread over them. */
  #findLevels(group: number, first: number, panel: Float64Array): void {
    const { group: size, threshold, simplified } = this.#options;
    const { cols, roots } = this.#factor;
    const weight = Float64Array.from({ length: size }, (_, i) => roots[group * size + i]! ** 2);
    for (let row = 0; row < this.#rows; row++) {
      const values = this.#preview(row * cols, group * size, first, panel);
      const whole = simplified || threshold === Number.POSITIVE_INFINITY;
      const level = whole ? this.#wholeLevel(values) : levelWithoutOutliers(values, weight, threshold, this.#most);
      this.#scales[row * this.#groups + group] = this.nested.scale ? level.scale : this.#cast(level.scale);
      this.#zeros[row * this.#groups + group] = this.nested.zero ? level.zero : this.#cast(level.zero);
    }
    if (this.nested.scale) quantizeLevels(this.#scales, group, this.nested.scale, this.#cast);
    if (this.nested.zero) quantizeLevels(this.#zeros, group, this.nested.zero, this.#cast);
  }

  /**
   * A target is what makes up for the columns before it, rounded or not: those that are not rounded yet take what they are asked
   * for. line: where the row starts
   */
  #preview(line: number, start: number, first: number, panel: Float64Array): Float64Array {
    const { group } = this.#options;
    const width = this.#factor.cols - first;
    const values = this.#targets.slice(line + start, line + start + group);
    for (let i = 0; i < group; i++) {
      const difference = this.#weights[line + start + i]! - values[i]!;
      const at = (start - first + i) * width + start - first;
      for (let j = i + 1; j < group; j++) values[j]! += difference * panel[at + j]!;
    }
    return values;
  }

  #wholeLevel(values: Float64Array) {
    let min = values[0]!;
    let max = min;
    for (const value of values) {
      min = Math.min(min, value);
      max = Math.max(max, value);
    }
    return reachingLevel(min, max, this.#most);
  }

  #roundRun(
    row: number,
    from: number,
    to: number,
    first: number,
    end: number,
    panel: Float64Array,
    differences: Float64Array,
  ): void {
    const { cols, order, roots } = this.#factor;
    const { group, threshold } = this.#options;
    const at = row * this.#groups + Math.floor(from / group);
    const level = { scale: this.#scales[at]!, zero: this.#zeros[at]! };
    const targets = this.#targets.subarray(row * cols, (row + 1) * cols);
    for (let k = from; k < to; k++) {
      const target = targets[k]!;
      const own = row * cols + order[k]!;
      const code = spqrCode(target, level, this.#most);
      let value = level.scale * (code - level.zero);
      if (((target - value) * roots[k]!) ** 2 > threshold) {
        this.#isOutlier[own] = 1;
        this.#codes[own] = spqrCode(0, level, this.#most);
        value = this.#cast(target);
        this.#kept[own] = value;
      } else {
        this.#codes[own] = code;
      }
      const difference = this.#weights[row * cols + k]! - value;
      differences[row * (end - first) + k - first] = difference;
      const line = (k - first) * (cols - first) - first;
      for (let j = k + 1; j < end; j++) targets[j]! += difference * panel[line + j]!;
    }
  }

  /** The errors of the columns [first, end) on all columns after. */
  #feedOn(first: number, end: number, panel: Float64Array, differences: Float64Array): void {
    const { cols } = this.#factor;
    const width = cols - first;
    for (let row = 0; row < this.#rows; row++) {
      const targets = this.#targets.subarray(row * cols, (row + 1) * cols);
      for (let k = 0; k < end - first; k++) {
        const difference = differences[row * (end - first) + k]!;
        const line = k * width - first;
        for (let j = end; j < cols; j++) targets[j]! += difference * panel[line + j]!;
      }
    }
  }

  tile(): Omit<QuantizedTile, 'name' | 'shape' | 'from' | 'to'> {
    const { cols, order } = this.#factor;
    const { bits, group } = this.#options;
    const stored = this.#options.stored ?? 'f32';
    const natural = order.every((column, k) => column === k);
    const groupOf = new Int32Array(cols);
    for (const [k, column] of order.entries()) groupOf[column] = Math.floor(k / group);
    const per: Sharing = natural ? { rows: 1, cols: group } : { groupOf };
    const places = Int32Array.from(this.#isOutlier.keys()).filter((at) => this.#isOutlier[at]);
    const held = this.#options.levels ? 'f32' : stored;
    return {
      grid: { kind: 'integer', bits, signed: false },
      codes: this.#codes,
      scale: { values: this.#scales, stored: held, per },
      zero: { kind: 'float', levels: { values: this.#zeros, stored: held, per } },
      ...(this.#options.threshold !== Number.POSITIVE_INFINITY && {
        sparse: {
          row: places.map((at) => Math.floor(at / cols)),
          col: places.map((at) => at % cols),
          value: Float32Array.from(places, (at) => this.#kept[at]!),
          stored,
        },
      }),
      arithmetic: { compute: 'f32', divide: 'divide', rounding: 'halfEven', scale: 'afterCast', zero: 'beforeRounding' },
    };
  }
}

/** Bits a value: codes, levels of both floors, and 16 bits each for the value and the place of an outlier. */
export function spqrBits({ tile, scale, zero }: SpqrTile): number {
  const values = tile.codes.length;
  const floats = { f32: 32, f16: 16, bf16: 16 } as const;
  const grid = tile.grid.kind === 'integer' ? tile.grid.bits : 0;
  const stored = tile.sparse?.stored === 'f32' ? 32 : 16;
  const level = (levels: QuantizedLevels | undefined, count: number): number =>
    levels ? levels.bits * levels.codes.length + 2 * stored * levels.scale.length : count * floats[tile.scale!.stored as 'f32'];
  const sparse = (tile.sparse?.value.length ?? 0) * (stored + 16);
  return grid + (level(scale, tile.scale!.values.length) + level(zero, tile.zero!.levels.values.length) + sparse) / values;
}
