import { describe, expect, test } from 'vitest';
import { writeGguf } from '../checkpoint/gguf/index.ts';
import { FormatError, NumericError, RecipeError } from '../errors.ts';
import { syntheticModel } from '../format/synthetic.fixture.ts';
import { memorySource } from '../io/index.ts';
import { fromF32, type Tensor } from '../tensor/index.ts';
import { importanceFrom } from './importance.ts';
import { openStatistics } from './statistics/index.ts';

const f32 = (...values: number[]): Tensor => ({
  type: 'f32',
  shape: [values.length],
  bytes: fromF32('f32', Float32Array.from(values)),
});
const ones = (count: number) => new Array<number>(count).fill(1);

async function imatrix(tensors: Record<string, Tensor>): Promise<Map<string, Float32Array>> {
  const bytes = writeGguf(new Map([['general.type', { type: 'string', value: 'imatrix' }]]), new Map(Object.entries(tensors)));
  const model = await syntheticModel();
  return importanceFrom(await openStatistics(memorySource(bytes, 'm.gguf'), model), model);
}

const up = 'blk.0.ffn_up.weight';
const entry = (sums: number[], counts = [4]) => ({ [`${up}.in_sum2`]: f32(...sums), [`${up}.counts`]: f32(...counts) });

describe('llama.cpp’s imatrix', () => {
  test('means of squares by canonical name; tensors of other models are passed over', async () => {
    const found = await imatrix({
      ...entry([2, ...ones(255)]),
      'blk.9.ffn_up.weight.in_sum2': f32(1),
      'blk.9.ffn_up.weight.counts': f32(1),
    });
    expect([...found.keys()]).toEqual(['model.layers.0.mlp.up_proj.weight']);
    expect([...found.values()][0]!.slice(0, 2)).toEqual(Float32Array.of(0.5, 0.25));
  });

  test('without counts all weights are equal', async () => {
    expect([...(await imatrix(entry(ones(256), [0]))).values()][0]).toEqual(new Float32Array(256).fill(1));
  });

  test.each<[string, Record<string, Tensor>, new (...args: never[]) => Error, RegExp]>([
    ['another width', entry(ones(255)), RecipeError, /another width.*got 255, limit 256/],
    ['several experts', entry(ones(256), [1, 1]), FormatError, /several experts.*got 2/],
    ['a negative sum', entry([-1, ...ones(255)]), NumericError, /mlp.up_proj\[0\]: .*negative or not finite.*-0.25/],
    ['NaN', entry([...ones(255), Number.NaN]), NumericError, /\[255\]/],
    ['Inf', entry([Number.POSITIVE_INFINITY, ...ones(255)]), NumericError, /not finite/],
    ['only zeros', entry(new Array<number>(256).fill(0)), NumericError, /all zero/],
    ['no counts', { [`${up}.in_sum2`]: f32(...ones(256)) }, FormatError, /ffn_up.weight.counts: .*missing or not F32/],
    [
      'no tensor of the model',
      { 'x.in_sum2': f32(1), 'x.counts': f32(1) },
      RecipeError,
      /no tensor of the importance matrix is in the model/,
    ],
    ['no imatrix', { x: f32(1) }, FormatError, /no tensor named \*.in_sum2/],
  ])('%s is refused', async (_, tensors, family, message) => {
    const attempt = imatrix(tensors);
    await expect(attempt).rejects.toThrow(family);
    await expect(attempt).rejects.toThrow(message);
  });
});
