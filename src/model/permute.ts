/**
 * llama.cpp rotates neighbouring pairs where transformers rotates halves, so its converter interleaves the rows of q and k:
 * `w.reshape(heads, 2, d / 2, in).swapaxes(1, 2)` (convert_hf_to_gguf.py). The order of inputs is untouched.
 * Holds for weights [rows, in] and biases [rows]; a head has `dims` rows, an even number.
 */
import { ModelError } from '../errors.ts';

/** Which Hugging Face row is row `row` of the GGUF tensor. */
export function huggingFaceRow(row: number, dims: number): number {
  const within = row % dims;
  return row - within + (within % 2) * (dims / 2) + (within >> 1);
}

/** Which GGUF row is row `row` of the Hugging Face tensor. */
export function ggufRow(row: number, dims: number): number {
  const half = dims / 2;
  const within = row % dims;
  return row - within + (within % half) * 2 + (within >= half ? 1 : 0);
}

/** `index[r]`: which Hugging Face row is row `r` of the GGUF tensor. */
export function permuteIndex(rows: number, heads: number): Int32Array {
  const dims = headRows(rows, heads);
  return Int32Array.from({ length: rows }, (_, row) => huggingFaceRow(row, dims));
}

/** `index[r]`: which GGUF row is row `r` of the Hugging Face tensor. */
export function unpermuteIndex(rows: number, heads: number): Int32Array {
  const dims = headRows(rows, heads);
  return Int32Array.from({ length: rows }, (_, row) => ggufRow(row, dims));
}

function headRows(rows: number, heads: number): number {
  const dims = rows / heads;
  if (Number.isInteger(dims / 2)) return dims;
  throw new ModelError({
    what: `${rows} rows are not ${heads} heads of an even number of rows`,
    where: 'permutation of q and k',
  });
}
