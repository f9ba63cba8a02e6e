/** The importance matrix that ggml's encoders take: mean squares of what each weight is multiplied with. */
import { NumericError, RecipeError } from '../errors.ts';
import type { Model } from '../format/types.ts';
import { linearOf } from '../model/index.ts';
import type { StatisticsReader } from '../quantize/statistics.ts';

/**
 * @returns canonical tensor name -> mean square of its inputs, [cols].
 * @throws RecipeError when the statistics hold no mean squares or none of this model, NumericError for values that cannot be weights.
 */
export async function importanceFrom(reader: StatisticsReader, model: Model): Promise<Map<string, Float32Array>> {
  const kinds = ['meansquare', 'hessian'] as const;
  if (!reader.linears().some((linear) => kinds.some((kind) => reader.has(linear, kind))))
    throw new RecipeError({
      what: 'the statistics hold no meansquare, which is what an importance matrix is',
      where: reader.name,
      next: 'make them with fewbits calibrate --kinds meansquare',
    });
  const found = new Map<string, Float32Array>();
  for (const { name } of model.tensors) {
    const linear = linearOf(name);
    const kind = kinds.find((one) => reader.has(linear, one));
    if (!kind) continue;
    const values = await reader.read(linear, kind);
    const row = kind === 'hessian' ? diagonal(values) : values;
    // All weights zero pass every check of a file and give a tensor of zeros.
    if (row.every((weight) => weight === 0))
      throw new NumericError({
        what: 'the importance matrix is all zero',
        where: `${reader.name}: ${linear}`,
        next: 'make it from more text',
      });
    found.set(name, row);
  }
  if (found.size === 0)
    throw new RecipeError({
      what: 'no linear of the statistics is in the model',
      where: reader.name,
      next: 'make them from this model',
    });
  return found;
}

/** The mean square of each input, from its Hessian [in, in]. */
export function diagonal(hessian: Float32Array): Float32Array {
  const width = Math.sqrt(hessian.length);
  return Float32Array.from({ length: width }, (_, i) => hessian[i * (width + 1)]!);
}
