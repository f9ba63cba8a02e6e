/** Blocks whose codes are chosen with error feedback, under levels that the type's own encoder chooses first. */
import { type Encoder, encodeRows, type Kernels } from '../../../kernels/index.ts';
import type { Factor } from '../../../quantize/rounding/factor.ts';
import { type FixedLevels, feedbackRows } from '../../../quantize/rounding/feedback-rows.ts';
import type { RefineMath } from '../../../quantize/rounding/refine-math.ts';
import { writeCodes } from './codes.ts';
import { type LevelType, layoutOf } from './layouts.ts';
import { leveledRows, refineBlocks } from './refine.ts';

export interface RoundOptions {
  factor: Factor;
  /** [cols], the importance that the encoder takes. */
  meansquare?: Float32Array;
  /** [cols, cols], for rounds of refinement. */
  hessian: Float32Array;
  rounds: number;
  math: RefineMath;
  /** Which levels the codes are chosen under; default: those of ggml's encoder. */
  encoder?: Encoder;
  /** For messages. */
  name: string;
}

/** Sweeps over the columns in one round of refinement. */
const SWEEPS = 2;

/**
 * @param target [rows, cols], not a view of the kernels' memory
 * @returns the blocks of the rows
 */
export function roundBlocks(kernels: Kernels, type: LevelType, target: Float32Array, options: RoundOptions): Uint8Array {
  const { factor, meansquare, hessian, rounds, math, encoder, name } = options;
  const { cols } = factor;
  const bytes = encodeRows(kernels, type, target, cols, meansquare, encoder);
  const { codes } = feedbackRows(kernels, target, fixedLevels(type, bytes, cols), factor, name);
  writeCodes(type, codes, bytes);
  if (rounds > 0) refineBlocks(type, target, bytes, hessian, { rounds, sweeps: SWEEPS, math });
  return bytes;
}

function fixedLevels(type: LevelType, bytes: Uint8Array, cols: number): FixedLevels {
  const { scales, mins, group, values } = leveledRows(type, bytes, cols);
  const integers = layoutOf(type).grid.kind === 'integer';
  return {
    scale: scales,
    ...(mins && { minimum: mins }),
    group,
    grid: integers ? { low: values[0]!, high: values.at(-1)! } : { codebook: values },
  };
}
