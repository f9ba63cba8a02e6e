/** Codes packed densely, row by row, low bits first. */
import { type Codes, denseBytes, packDense, unpackDense } from '../numeric/index.ts';

/** codes: [rows, cols] -> rows of `rowBytes` bytes (by default as few as hold them). */
export function packRows(codes: Codes, rows: number, cols: number, bits: number, rowBytes = denseBytes(cols, bits)): Uint8Array {
  const out = new Uint8Array(rows * rowBytes);
  for (let r = 0; r < rows; r++) out.set(packDense(codes.subarray(r * cols, (r + 1) * cols), bits), r * rowBytes);
  return out;
}

/** The inverse of `packRows`: [rows, cols]. */
export function unpackRows(
  bytes: Uint8Array,
  rows: number,
  cols: number,
  bits: number,
  rowBytes = denseBytes(cols, bits),
): Uint8Array {
  const codes = new Uint8Array(rows * cols);
  for (let r = 0; r < rows; r++) codes.set(unpackDense(bytes.subarray(r * rowBytes, (r + 1) * rowBytes), bits, cols), r * cols);
  return codes;
}
