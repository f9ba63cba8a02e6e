/**
 * One and two bits by the mean of magnitudes, as DeepSpeed's BinaryQuantizer and TernaryQuantizer do (compression/utils.py, commit
 * edaa722, Apache-2.0; the rules are those of XNOR-Net, arXiv 1603.05279, and of ternary weight networks, arXiv 1605.04711).
 */
import type { QuantizedTile } from '../../quantized/types.ts';
import { sharedCount } from '../granularity.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { checkRows, type GridGranularity, runsOf } from './place.ts';
import { storedScale } from './table-matrix.ts';
import { scalarGrid } from './tables.ts';

export interface MeanScaleOptions {
  grid: 'binary' | 'ternary';
  granularity: GridGranularity;
  scaleType?: 'f32' | 'f16' | 'bf16';
  /** ternary: values up to this share of the mean magnitude become 0 (0.7). */
  threshold?: number;
}

/**
 * binary: sign(x) times the mean of |x|. A zero counts as positive (the reference leaves it 0, which one bit cannot say).
 * ternary: 0 where |x| <= 0.7 mean |x|, else sign(x) times the mean of the |x| above. A run of zeros gets the scale 0 (NaN in the reference).
 * Granularity tensor needs the whole matrix in one tile.
 * @param x [to - from, cols]
 */
export function quantizeByMean(x: Float32Array, place: TilePlace, options: MeanScaleOptions): QuantizedTile {
  checkRows(x, place);
  const { name, shape, from, to } = place;
  const { per, run } = runsOf(options.granularity === 'tensor' ? { flat: shape[0] * shape[1] } : options.granularity, x, place);
  const { scaleType = 'f32', threshold = 0.7 } = options;
  const isTernary = options.grid === 'ternary';
  const codes = new Uint8Array(x.length); // [to - from, cols]
  const scales = new Float32Array(sharedCount(per, { from, to, cols: shape[1] }));
  for (let level = 0, start = 0; start < x.length; level++, start += run) {
    const end = Math.min(start + run, x.length);
    const mean = Math.fround(sumOf(magnitudes(x, start, end, 0)) / (end - start));
    let scale = mean;
    if (isTernary) {
      const limit = Math.fround(threshold * mean);
      let kept = 0;
      for (let i = start; i < end; i++) {
        const isLarge = Math.abs(x[i]!) > limit;
        if (isLarge) kept++;
        codes[i] = isLarge ? (x[i]! > 0 ? 2 : 0) : 1;
      }
      scale = kept === 0 ? 0 : sumInLanes(magnitudes(x, start, end, limit)) / kept;
    } else {
      for (let i = start; i < end; i++) codes[i] = x[i]! < 0 ? 0 : 1;
    }
    scales[level] = storedScale(scale, scaleType, () => `${name}, value ${start} of the tile`);
  }
  return { name, shape, from, to, grid: scalarGrid(options.grid), codes, scale: { values: scales, stored: scaleType, per } };
}

/** Runs up to this length are summed in f32 and in torch's order; longer ones in f64, because f32 loses what a long sum gains. */
const LONGEST_F32_SUM = 4096;

/** |x| of the run where it is above the limit, else 0. */
function magnitudes(x: Float32Array, from: number, to: number, limit: number): Float32Array {
  return x.subarray(from, to).map((value) => (Math.abs(value) > limit ? Math.abs(value) : 0));
}

/** torch's norm(p=1): one after another. */
function sumOf(x: Float32Array): number {
  const isShort = x.length <= LONGEST_F32_SUM;
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum = isShort ? Math.fround(sum + x[i]!) : sum + x[i]!;
  return Math.fround(sum);
}

/** torch's sum on AVX2: four vectors of eight lanes, then the vectors, then the lanes. */
function sumInLanes(x: Float32Array): number {
  const lanes = x.length <= LONGEST_F32_SUM ? new Float32Array(32) : new Float64Array(32);
  const round = (value: number) => (lanes instanceof Float32Array ? Math.fround(value) : value);
  for (let i = 0; i < x.length; i++) lanes[i % 32]! += x[i]!;
  for (let vector = 8; vector < 32; vector++) lanes[vector % 8]! += lanes[vector]!;
  let sum = lanes[0]!;
  for (let lane = 1; lane < 8; lane++) sum = round(sum + lanes[lane]!);
  return Math.fround(sum);
}
