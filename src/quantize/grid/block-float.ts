/**
 * Blocks of minifloats under a power of two: MXFP4, MXFP6, MXFP8 (OCP Microscaling Formats 1.0). The tile form for any matrix;
 * ggml's block of 17 bytes is packing.
 */
import { minifloat } from '../../numeric/minifloat.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { nearestTable, type Ties } from './nearest.ts';
import { checkRows, checkWeights, runsOf } from './place.ts';
import { absmaxOf, encodeRun, runError } from './runs.ts';

/**
 * The exponent e of a block's scale 2^e, from its absmax, and the largest value of the format, 2^top * 1.m.
 * floor  floor(log2 absmax) - top, the OCP rule (5.3): values up to twice the largest are clipped
 * ceil   ceil(log2 absmax) - top, torchao's CEIL
 * fit    the smallest 2^e under which nothing is clipped, ceil(log2(absmax / largest)), NVIDIA's round up
 * even   floor of absmax rounded to the mantissa of the format first, as torchao's EVEN and compressed-tensors do
 * best   of the OCP exponent and the one above, the one of less (weighted) error; equal errors keep the OCP exponent
 */
export type ExponentRule = 'floor' | 'ceil' | 'fit' | 'even' | 'best';

export interface BlockFloatOptions {
  /** 'e2m1' (MXFP4), 'e2m3' and 'e3m2' (MXFP6), 'e4m3' and 'e5m2' (MXFP8) */
  format: 'e2m1' | 'e2m3' | 'e3m2' | 'e4m3' | 'e5m2';
  exponent?: ExponentRule;
  /** 32 */
  block?: number;
  /** best: weights of the squared error by column, [cols]. */
  weights?: Float32Array;
  /** evenCode, as hardware rounds; ggml takes towardZero. */
  ties?: Ties;
}

/** Exponents that e8m0 can hold. */
const LOWEST = -127;
const HIGHEST = 127;

/** x: [to - from, cols], cols a multiple of the block. A block of zeros gets the lowest exponent. */
export function quantizeBlockFloat(x: Float32Array, place: TilePlace, options: BlockFloatOptions): QuantizedTile {
  checkRows(x, place);
  const { name, shape, from, to } = place;
  const cols = shape[1];
  const { format, exponent = 'floor', block = 32, weights } = options;
  checkWeights(weights, cols, name);
  const { per, run } = runsOf({ group: block }, x, place);
  const grid = { kind: 'minifloat', format } as const;
  const table = nearestTable(grid, options.ties ? { ties: options.ties } : {});
  const top = log2Floor(table.largest);
  const { mantissa } = minifloat(format);
  const rule = exponents[exponent];
  const codes = new Uint8Array(x.length); // [to - from, cols]
  const scales = new Float32Array(x.length / run);
  for (let level = 0, start = 0; start < x.length; level++, start += run) {
    const end = start + run;
    const absmax = absmaxOf(x, start, end);
    const error = (e: number) => runError(table, x, start, end, 2 ** clampExponent(e), weights, start % cols);
    const e = absmax === 0 ? LOWEST : clampExponent(rule({ absmax, largest: table.largest, top, mantissa, error }));
    scales[level] = 2 ** e;
    encodeRun(table, x, start, end, scales[level]!, { compute: 'f64', divide: 'reciprocal' }, codes);
  }
  return { name, shape, from, to, grid, codes, scale: { values: scales, stored: 'e8m0', per } };
}

interface Block {
  absmax: number;
  largest: number;
  top: number;
  mantissa: number;
  error(e: number): number;
}

const exponents: Record<ExponentRule, (block: Block) => number> = {
  floor: ({ absmax, top }) => log2Floor(absmax) - top,
  ceil: ({ absmax, top }) => log2Ceil(absmax) - top,
  fit: ({ absmax, largest, top }) => {
    const e = log2Floor(absmax) - top;
    return absmax > largest * 2 ** e ? e + 1 : e;
  },
  even: ({ absmax, top, mantissa }) => {
    const e = log2Floor(absmax);
    return (absmax >= 2 ** e * (2 - 2 ** -(mantissa + 1)) ? e + 1 : e) - top;
  },
  best: ({ absmax, top, error }) => {
    const e = log2Floor(absmax) - top;
    return error(e + 1) < error(e) ? e + 1 : e;
  },
};

function clampExponent(e: number): number {
  return Math.min(Math.max(e, LOWEST), HIGHEST);
}

const f64 = new Float64Array(1);
const u32 = new Uint32Array(f64.buffer);

/** floor(log2 x) of x > 0 that is an f32: exact, which Math.log2 need not be. */
export function log2Floor(x: number): number {
  f64[0] = x;
  return (u32[1]! >>> 20) - 1023;
}

function log2Ceil(x: number): number {
  const e = log2Floor(x);
  return 2 ** e < x ? e + 1 : e;
}
