/** Rounding to the nearest value of any scalar grid: thresholds between neighbours, found by halving. */
import { RecipeError } from '../../errors.ts';
import type { Grid } from '../../quantized/types.ts';
import { gridTable } from '../dequantize.ts';

interface Entry {
  value: number;
  code: number;
}

/** Whether the upper of two neighbours gets the value in their middle. */
const tieRules = {
  lowerValue: () => false,
  upperValue: () => true,
  lowerCode: (lower, upper) => upper.code < lower.code,
  evenCode: (lower) => lower.code % 2 !== 0,
  evenValue: (lower) => lower.value % 2 !== 0,
  towardZero: (lower) => lower.value < 0,
} as const satisfies Record<string, (lower: Entry, upper: Entry) => boolean>;

export type Ties = keyof typeof tieRules;

export interface NearestOptions {
  /** Default: evenCode for minifloats, evenValue for integers (half to even), lowerCode for codebooks. */
  ties?: Ties;
  /** The middle of two f32 values needs one bit more; bitsandbytes compares with its f32 rounding. Default exact. */
  midpoints?: 'exact' | 'f32';
  /**
   * Codes of equal value. first (default): the lowest code stands for all; of a minifloat's two zeros the one with the sign of x.
   * split: they count as neighbours, so values above go to the higher code (both zeros of bitsandbytes' FP4).
   */
  duplicates?: 'first' | 'split';
}

/** A grid in order of value. x belongs to slot k = how many thresholds lie below x, and gets codes[k]. */
export interface NearestTable {
  /** [2^depth - 1], ascending, filled with Infinity. */
  thresholds: Float64Array;
  /** [2^depth], filled with the last code. */
  codes: Uint16Array;
  /** [2^depth], the values of the slots. */
  values: Float32Array;
  depth: number;
  /** Largest magnitude of a value. */
  largest: number;
}

const defaultTies = { integer: 'evenValue', minifloat: 'evenCode', codebook: 'lowerCode', opaque: 'lowerCode' } as const;

/** Infinities and NaN of minifloats are no neighbours: rounding saturates. RecipeError for vectors, several books, encoded blocks. */
export function nearestTable(grid: Grid, options: NearestOptions = {}): NearestTable {
  const table = gridTable(grid);
  if (!table || (grid.kind === 'codebook' && grid.dim !== 1)) {
    throw new RecipeError({ what: 'rounding to the nearest value needs a grid with one list of values', value: grid.kind });
  }
  const ties = options.ties ?? defaultTies[grid.kind];
  return tableOfValues(table, { ...options, ties }, grid.kind === 'minifloat');
}

/** The same for a list of values, one a code. `signedZero`: -0 keeps its own code for values below 0. */
export function tableOfValues(
  list: Float32Array,
  { ties = 'lowerCode', midpoints = 'exact', duplicates = 'first' }: NearestOptions = {},
  signedZero = false,
): NearestTable {
  const sorted = Array.from(list, (value, code): Entry => ({ value, code }))
    .filter(({ value }) => Number.isFinite(value))
    .sort((a, b) => a.value - b.value || (signedZero ? signOf(a.value) - signOf(b.value) : 0) || a.code - b.code);
  const isTwin = (a: Entry, b: Entry) => a.value === b.value && !(signedZero && !Object.is(a.value, b.value));
  const entries = duplicates === 'split' ? sorted : sorted.filter((entry, i) => i === 0 || !isTwin(sorted[i - 1]!, entry));
  const depth = Math.ceil(Math.log2(entries.length));
  const thresholds = new Float64Array(2 ** depth - 1).fill(Number.POSITIVE_INFINITY);
  const codes = new Uint16Array(2 ** depth).fill(entries.at(-1)!.code);
  const values = new Float32Array(2 ** depth).fill(entries.at(-1)!.value);
  for (let i = 0; i < entries.length; i++) {
    codes[i] = entries[i]!.code;
    values[i] = entries[i]!.value;
    if (i > 0) thresholds[i - 1] = threshold(entries[i - 1]!, entries[i]!, ties, midpoints, signedZero);
  }
  return { thresholds, codes, values, depth, largest: values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) };
}

function signOf(value: number): number {
  return value < 0 || Object.is(value, -0) ? -1 : 1;
}

function threshold(lower: Entry, upper: Entry, ties: Ties, midpoints: 'exact' | 'f32', signedZero: boolean): number {
  if (lower.value === upper.value) return signedZero ? -Number.MIN_VALUE : lower.value;
  const middle = (lower.value + upper.value) / 2;
  if (midpoints === 'f32') return Math.fround(middle);
  const rule: (lower: Entry, upper: Entry) => boolean = tieRules[ties];
  return rule(lower, upper) ? below(middle) : middle;
}

const f64 = new Float64Array(1);
const u64 = new BigInt64Array(f64.buffer);

/** The next f64 below x: "above it" then means "x or above". */
function below(x: number): number {
  if (x === 0) return -Number.MIN_VALUE;
  f64[0] = x;
  u64[0]! += x > 0 ? -1n : 1n;
  return f64[0]!;
}

/** The code of the value nearest to x, for the solvers that round one value at a time. NaN gets the code of the lowest value. */
export function nearestOf(grid: Grid, options: NearestOptions = {}): (value: number) => number {
  const { thresholds, codes, depth } = nearestTable(grid, options);
  const top = (2 ** depth) >> 1;
  return (value) => {
    let slot = 0;
    for (let step = top; step > 0; step >>= 1) if (value > thresholds[slot + step - 1]!) slot += step;
    return codes[slot]!;
  };
}

/** x: [n] -> codes [n] of the nearest values. */
export function nearestCodes<T extends Uint8Array | Uint16Array>(table: NearestTable, x: ArrayLike<number>, out: T): T {
  const { thresholds, codes, depth } = table;
  const top = (2 ** depth) >> 1;
  for (let i = 0; i < out.length; i++) {
    const value = x[i]!;
    let slot = 0;
    for (let step = top; step > 0; step >>= 1) if (value > thresholds[slot + step - 1]!) slot += step;
    out[i] = codes[slot]!;
  }
  return out;
}
