/**
 * NVFP4: E2M1 in blocks of 16 under an E4M3 scale under one f32 for the tensor. The tile form for any matrix.
 * A value is e2m1 * e4m3 * global, global = absmax of the tensor / (6 * 448), as in NVIDIA's recipe; compressed-tensors stores
 * its reciprocal.
 */
import { RecipeError } from '../../errors.ts';
import { type FloatName, floatTypes } from '../../numeric/float.ts';
import { encodeMinifloat, minifloats, minifloatValues } from '../../numeric/minifloat.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { nearestTable, type Ties } from './nearest.ts';
import { checkRows, checkWeights, runsOf, tensorAbsmax } from './place.ts';
import { absmaxOf, encodeRun, runError } from './runs.ts';

export interface Nvfp4Options {
  /**
   * six            the block's absmax lies on 6
   * four-over-six  on 6 or on 4, whichever loses less (Four Over Six, arXiv 2512.02010)
   * search         every E4M3 scale between those that put it on 7 and on 3.5
   */
  scale?: 'six' | 'four-over-six' | 'search';
  /**
   * The largest block scale, in E4M3 (448). Four over six on the largest blocks needs room above: 256 leaves a factor of 1.75, as
   * its authors take.
   */
  largestScale?: number;
  /** The f32 scale of the tensor, where several tensors share one (q, k and v). Default from the absmax. */
  global?: number;
  /**
   * Dtype in which absmax / 6 is computed (f64). compressed-tensors computes it in that of the weights, and stores the reciprocal
   * of the tensor's scale rounded to it: give that one as `global`.
   */
  compute?: FloatName;
  /** Weights of the squared error by column, [cols]. */
  weights?: Float32Array;
  /** evenCode, as hardware rounds; ggml takes towardZero. */
  ties?: Ties;
}

/** Largest value of E2M1. */
const SIX = 6;
const LARGEST_SCALE = 448;
/** Where a block's absmax may lie, by kind of choice. */
const spans = { six: [6, 6], 'four-over-six': [6, 4], search: [7, 3.5] } as const;

/** global = absmax / (6 * largestScale) as f32; 1 for a tensor of zeros. */
export function nvfp4Global(absmax: number, largestScale = LARGEST_SCALE): number {
  return absmax === 0 ? 1 : Math.max(Math.fround(absmax / (SIX * largestScale)), 2 ** -126);
}

/**
 * @param x [to - from, cols], cols a multiple of 16; `place.survey` where the tile is a part of the matrix and no global is given
 * Equal errors keep the scale nearer to six. A block that is not zero never gets the scale 0: the smallest E4M3 loses less.
 */
export function quantizeNvfp4(x: Float32Array, place: TilePlace, options: Nvfp4Options = {}): QuantizedTile {
  checkRows(x, place);
  const { name, shape, from, to } = place;
  const cols = shape[1];
  const { scale: choice = 'six', largestScale = LARGEST_SCALE, compute = 'f64', weights } = options;
  checkWeights(weights, cols, name);
  const global = Math.fround(options.global ?? nvfp4Global(tensorAbsmax(x, place), largestScale));
  if (!(global > 0 && global < Number.POSITIVE_INFINITY)) {
    throw new RecipeError({ what: 'the scale of the tensor must be positive', where: name, value: options.global });
  }
  const { per, run } = runsOf({ group: 16 }, x, place);
  const grid = { kind: 'minifloat', format: 'e2m1' } as const;
  const table = nearestTable(grid, options.ties ? { ties: options.ties } : {});
  const map = minifloatValues(minifloats.e4m3);
  const levels = Int16Array.from({ length: x.length / run }, () => 0);
  const values = new Float32Array(levels.length);
  const codes = new Uint8Array(x.length); // [to - from, cols]
  for (let level = 0, start = 0; start < x.length; level++, start += run) {
    const end = start + run;
    const absmax = absmaxOf(x, start, end);
    const code = absmax === 0 ? 0 : chosen(candidates(choice, absmax, global, compute));
    levels[level] = code;
    values[level] = map[code]! * global;
    encodeRun(table, x, start, end, values[level]!, { compute: 'f32', divide: 'divide' }, codes);

    function chosen(candidates: number[]): number {
      if (candidates.length === 1) return candidates[0]!;
      const errors = candidates.map((c) => runError(table, x, start, end, Math.fround(map[c]! * global), weights, start % cols));
      return candidates[errors.reduce((least, error, i) => (error < errors[least]! ? i : least), 0)]!;
    }
  }
  const parent = { values: Float32Array.of(global), stored: 'f32', per: { rows: 0, cols: 0 } } as const;
  return { name, shape, from, to, grid, codes, scale: { values, stored: 'e4m3', per, codes: levels, map, parent } };
}

/** Codes of E4M3 scales to choose from, that of `six` first. */
function candidates(choice: keyof typeof spans, absmax: number, global: number, compute: FloatName): number[] {
  const { round } = floatTypes[compute];
  const codeAt = (top: number) => Math.max(encodeMinifloat(minifloats.e4m3, round(absmax / top) / global, { saturate: true }), 1);
  const six = codeAt(SIX);
  if (choice === 'six') return [six];
  const [high, low] = spans[choice];
  const first = codeAt(high);
  const last = codeAt(low);
  if (choice === 'four-over-six') return last === six ? [six] : [six, last];
  return [six, ...Array.from({ length: last - first + 1 }, (_, i) => first + i).filter((code) => code !== six)];
}
