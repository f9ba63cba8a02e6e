/**
 * Importance matrices: llama.cpp's imatrix in its GGUF form, one row of weights for each tensor.
 */

import { readTensor } from '../checkpoint/index.ts';
import type { Checkpoint } from '../checkpoint/types.ts';
import { FormatError, NumericError } from '../errors.ts';
import type { Model } from '../format/types.ts';

/**
 * @returns canonical tensor name -> mean square of its inputs, [cols].
 * @throws FormatError when it is no importance matrix or does not fit the model, NumericError for values that cannot be weights.
 */
export async function readImportance(file: Checkpoint, model: Model): Promise<Map<string, Float32Array>> {
  const sums = [...file.tensors.values()].filter((entry) => entry.name.endsWith('.in_sum2'));
  if (sums.length === 0)
    throw new FormatError({ what: 'no importance matrix: it has no tensor named *.in_sum2', where: file.name });
  const byGguf = new Map(model.tensors.map((tensor) => [tensor.gguf ?? tensor.name, tensor]));
  const found = new Map<string, Float32Array>();
  for (const entry of sums) {
    const name = entry.name.slice(0, -'.in_sum2'.length);
    const tensor = byGguf.get(name);
    if (!tensor) continue;
    const values = await floats(file, entry.name);
    const counts = await floats(file, `${name}.counts`);
    const cols = tensor.shape.at(-1)!;
    if (values.length !== cols || counts.length !== 1) {
      throw new FormatError({
        what: 'the importance matrix has another width than the tensor',
        where: `${file.name}: ${name}`,
        value: values.length,
        limit: cols,
      });
    }
    const count = Math.round(counts[0]!);
    // Without counts llama.cpp takes all weights as equal.
    const row = values.map((sum) => (count > 0 ? sum / count : 1));
    checkWeights(row, `${file.name}: ${name}`);
    found.set(tensor.name, row);
  }
  if (found.size === 0)
    throw new FormatError({
      what: 'no tensor of the importance matrix is in the model',
      where: file.name,
      next: 'make it from this model',
    });
  return found;
}

/** An all-zero row gives all-zero weights that pass every check; a negative one aborts encoders. */
function checkWeights(row: Float32Array, where: string): void {
  const bad = row.findIndex((weight) => !(weight >= 0) || !Number.isFinite(weight));
  if (bad >= 0)
    throw new NumericError({
      what: 'a weight of the importance matrix is negative or not finite',
      where: `${where}[${bad}]`,
      value: `${row[bad]}`,
    });
  if (row.every((weight) => weight === 0))
    throw new NumericError({ what: 'the importance matrix is all zero', where, next: 'make it from more text' });
}

async function floats(file: Checkpoint, name: string): Promise<Float32Array> {
  const entry = file.tensors.get(name);
  if (entry?.type !== 'f32')
    throw new FormatError({ what: 'a tensor of the importance matrix is missing or not F32', where: `${file.name}: ${name}` });
  const { bytes } = await readTensor(entry);
  return new Float32Array(bytes.slice().buffer);
}
