/**
 * llama.cpp rotates neighbouring pairs where transformers rotates halves, so its converter interleaves the rows of q and k:
 * `w.reshape(heads, 2, d / 2, in).swapaxes(1, 2)` (convert_hf_to_gguf.py). The order of inputs is untouched.
 */
import { ModelError } from '../errors.ts';

/** `index[r]`: which Hugging Face row is row `r` of the GGUF tensor. Holds for weights [rows, in] and biases [rows]. */
export function permuteIndex(rows: number, heads: number): Int32Array {
  const index = new Int32Array(rows);
  eachPair(rows, heads, (hf, gguf) => {
    index[gguf] = hf;
  });
  return index;
}

/** `index[r]`: which GGUF row is row `r` of the Hugging Face tensor. */
export function unpermuteIndex(rows: number, heads: number): Int32Array {
  const index = new Int32Array(rows);
  eachPair(rows, heads, (hf, gguf) => {
    index[hf] = gguf;
  });
  return index;
}

function eachPair(rows: number, heads: number, visit: (hf: number, gguf: number) => void): void {
  const dims = rows / heads;
  if (!Number.isInteger(dims / 2))
    throw new ModelError({
      what: `${rows} rows are not ${heads} heads of an even number of rows`,
      where: 'permutation of q and k',
    });
  for (let head = 0; head < heads; head++)
    for (let half = 0; half < 2; half++)
      for (let i = 0; i < dims / 2; i++) visit(head * dims + half * (dims / 2) + i, head * dims + 2 * i + half);
}
