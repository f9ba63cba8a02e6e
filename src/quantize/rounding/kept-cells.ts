/** Values kept at high precision beside codes, while codes are chosen with feedback. */
import { floatTypes } from '../../numeric/float.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import type { KeptCells } from './feedback.ts';
import type { DescentState } from './refine-math.ts';

type Apart = Pick<QuantizedTile, 'sparse' | 'columns'>;

/** The cells of what a tile keeps apart; undefined where it keeps nothing. */
export function keptCells({ sparse, columns }: Apart, rows: number, cols: number): KeptCells['mask'] | undefined {
  if (!sparse && !columns) return undefined;
  const mask = new Uint8Array(rows * cols);
  if (sparse) for (const [i, col] of sparse.col.entries()) mask[sparse.row[i]! * cols + col] = 255;
  if (columns) for (let at = 0; at < mask.length; at += cols) for (const col of columns.index) mask[at + col] = 255;
  return mask;
}

/** What is kept apart, with other values. values: [rows, cols] */
export function withKeptValues({ sparse, columns }: Apart, values: Float32Array, cols: number): Apart {
  return {
    ...(sparse && { sparse: { ...sparse, value: sparse.value.map((_, i) => values[sparse.row[i]! * cols + sparse.col[i]!]!) } }),
    ...(columns && {
      columns: {
        ...columns,
        value: columns.value.map((_, i) => {
          const { length } = columns.index;
          return values[Math.floor(i / length) * cols + columns.index[i % length]!]!;
        }),
      },
    }),
  };
}

/**
 * Moves each kept value to where the loss of its row is least, given all others: coordinate descent like that on codes, on a grid as
 * fine as the type they are stored in. Changes them and the state; the loss of no row grows.
 * @param hessian [cols, cols]
 */
export function settleKept(
  { rows: { rows, cols, kept }, gradient, decoded }: DescentState,
  hessian: Float32Array,
  stored: KeptCells['stored'],
): void {
  if (!kept) return;
  const { round } = floatTypes[stored];
  for (let r = 0, at = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++, at++) {
      const curvature = hessian[c * cols + c]!;
      if (!kept.mask[at] || !(curvature > 0)) continue;
      const moved = round(Math.fround(decoded[at]! - gradient[at]! / curvature));
      const delta = moved - decoded[at]!;
      if (!(delta * (delta * curvature + 2 * gradient[at]!) < 0) || !Number.isFinite(moved)) continue;
      kept.values[at] = decoded[at] = moved;
      const factor = Math.fround(delta);
      for (let j = r * cols, h = c * cols, end = j + cols; j < end; j++, h++) gradient[j]! += Math.fround(factor * hessian[h]!);
    }
  }
}
