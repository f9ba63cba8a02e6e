/** assembly/feedback.ts, one value at a time, on one row. Each operation is rounded to f32. */
import { TILE } from './tiles.ref.ts';

const round = Math.fround;

/** x: [128] errors ŵ - w of the columns that are done; fed: [128] from earlier tiles; s: [128, 128] unit upper. */
function feedbackOn(x: Float32Array, fed: Float32Array, s: Float32Array, column: number): number {
  const quad = column & ~3;
  let sum = 0;
  for (let k = 0; k < quad; k++) sum = round(sum + round(x[k]! * s[k * TILE + column]!));
  let all = round(fed[column]! - sum);
  for (let k = quad; k < column; k++) all = round(all - round(x[k]! * s[k * TILE + column]!));
  return all;
}

/** x [128] with columns [from, to) as if they were rounded without an error. */
export function feedForward(x: Float32Array, fed: Float32Array, s: Float32Array, from: number, to: number): Float32Array {
  const out = x.slice();
  for (let column = from; column < to; column++) out[column] = feedbackOn(out, fed, s, column);
  return out;
}

export interface ReferenceLevel {
  scale: number;
  minimum: number;
  before: number;
  low: number;
}

function halfEven(x: number): number {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Index of the nearest value of an ascending codebook; of two the lower. */
function entryOf(x: number, codebook: Float32Array): number {
  return codebook.findLastIndex((value, i) => i === 0 || x > round((codebook[i - 1]! + value) / 2));
}

/** Rounds columns [from, to) of one row; `decode` rounds x̂ to its type, `keeps` the target of a cell that is kept. */
export function feedbackRow(
  x: Float32Array,
  fed: Float32Array,
  s: Float32Array,
  [from, to]: readonly [number, number],
  levelOf: (column: number) => ReferenceLevel,
  grid: { span: number } | { codebook: Float32Array },
  roots: Float32Array,
  decode: (x: number) => number = round,
  keeps: (column: number) => ((target: number) => number) | undefined = () => undefined,
): { x: Float32Array; codes: number[]; loss: number } {
  const out = x.slice();
  const codes: number[] = [];
  let loss = 0;
  for (let column = from; column < to; column++) {
    const level = levelOf(column);
    const target = round(out[column]! + feedbackOn(out, fed, s, column));
    const steps = level.scale === 0 ? 0 : round(round(target - level.minimum) / level.scale);
    let q: number;
    if ('codebook' in grid) {
      const index = entryOf(steps, grid.codebook);
      codes.push(index);
      q = grid.codebook[index]!;
    } else {
      q = Math.min(level.low + grid.span, Math.max(level.low, halfEven(round(steps + level.before))));
      codes.push(q - level.low);
    }
    const product = decode(round(level.scale * decode(round(q - level.before))));
    const value = keeps(column)?.(target) ?? decode(round(product + level.minimum));
    out[column] = value - out[column]!;
    loss = round(loss + round(round(round(target - value) * roots[column]!) ** 2));
  }
  return { x: out, codes, loss };
}
