import { describe, expect, test } from 'vitest';
import { open } from '../format/index.ts';
import { randomTensor, syntheticBag, syntheticModel } from '../format/synthetic.fixture.ts';
import { MemoryStore } from '../io/index.ts';
import { parseRecipe, plan } from '../recipe/index.ts';
import { convertRecipe } from './convert.ts';
import { run } from './run.ts';

const lossless = { requantize: false };

describe('convertRecipe', () => {
  test('without a type everything stays', async () => {
    expect(convertRecipe(await syntheticModel(), 'gguf', lossless)).toEqual({ version: 1, container: 'gguf', rules: [] });
  });

  test('a type is for weights: one rule, whatever the number of tensors', async () => {
    const model = await syntheticModel();
    const recipe = convertRecipe(model, 'gguf', { ...lossless, type: 'F16' });
    expect(recipe.rules).toEqual([{ name: '*', scheme: { kind: 'storage', type: 'f16' } }]);
    const made = await plan(model, recipe, { output: 'm.gguf' });
    expect(made.tensors.find((tensor) => tensor.name === 'blk.0.attn_q.weight')!.scheme).toBe('f16');
    expect(made.tensors.find((tensor) => tensor.name === 'output_norm.weight')!.scheme).toBe('f32');
  });

  test.each([
    ['f32', 'bf16', /f32 does not fit bf16 without loss.*--requantize/],
    ['f32', 'f16', /f32 does not fit f16/],
    ['f16', 'bf16', /f16 does not fit bf16/],
    ['bf16', 'f16', undefined], // the customary conversion
    ['bf16', 'f32', undefined],
    ['f16', 'f32', undefined],
    ['f16', 'f16', undefined],
  ] as const)('%s to %s', async (from, type, message) => {
    const bag = await syntheticBag([['a', randomTensor([4, 4], 1, from)]]);
    const convert = (requantize: boolean) => convertRecipe(bag, 'safetensors', { type, requantize });
    if (message) expect(() => convert(false)).toThrow(message);
    else convert(false);
    convert(true);
  });

  test('only float types are names of a type', async () => {
    const bag = await syntheticBag([['a', randomTensor([4, 4], 1)]]);
    for (const type of ['q4_0', 'constructor', ''])
      expect(() => convertRecipe(bag, 'gguf', { ...lossless, type })).toThrow(/convert changes between float types/);
  });

  test('integers are copied and hinder nobody; names that look like patterns are names', async () => {
    const ids = { type: 'i32', shape: [2, 2], bytes: new Uint8Array(16).fill(7) } as const;
    const bag = await syntheticBag([
      ['[ids]*', ids],
      ['w', randomTensor([4, 4], 1, 'f16')],
    ]);
    const recipe = convertRecipe(bag, 'safetensors', { ...lossless, type: 'f32' });
    const store = new MemoryStore();
    const report = await run(await plan(bag, recipe, { output: 'a.safetensors' }), store);
    expect(report.tensors.map(({ scheme, maxError }) => [scheme, maxError])).toEqual([
      ['i32', undefined],
      ['f32', 0],
    ]);
    const written = await open({ store, name: 'a.safetensors' });
    expect(written.tensors.map(({ name, type }) => `${name} ${type}`).sort()).toEqual(['[ids]* i32', 'w f32']);
  });

  test.each([
    ['mxfp4', { kind: 'mx', element: 'e2m1', exponent: 'best' }],
    ['tq2_0', { kind: 'table', table: 'ternary', granularity: { group: 256 }, range: 'mse', scaleType: 'f16' }],
    ['q2_0', { kind: 'table', table: 'ternary', granularity: { group: 64 }, range: 'mse', scaleType: 'f16' }],
    ['q1_0', { kind: 'table', table: 'binary', granularity: { group: 128 }, range: 'mse', scaleType: 'f16' }],
  ] as const)('%s holds the same values: nothing is encoded again', async (type, scheme) => {
    const store = new MemoryStore();
    const bag = await syntheticBag([['w', randomTensor([6, 256], 1, 'f32')]]);
    await run(await plan(bag, parseRecipe({ version: 1, container: 'fewbits', scheme }), { output: 'a.safetensors' }), store);
    const quantized = await open({ store, name: 'a.safetensors' });
    const report = await run(await plan(quantized, convertRecipe(quantized, 'gguf', lossless), { output: 'a.gguf' }), store);
    expect(report.tensors.map((tensor) => [tensor.scheme, tensor.maxError])).toEqual([[type, 0]]);
  });
});
