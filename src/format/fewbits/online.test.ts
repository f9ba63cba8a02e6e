import { describe, expect, test } from 'vitest';
import { FormatError, RecipeError } from '../../errors.ts';
import type { MemoryStore } from '../../io/index.ts';
import { orthogonalMatrix, randomRotation } from '../../quantize/transform/index.ts';
import { open } from '../open.ts';
import { llamaSpec, syntheticFolder } from '../synthetic.fixture.ts';

const spec = {
  ...llamaSpec,
  hidden: 132,
  heads: 3,
  kvHeads: 1,
  headDim: 48,
  intermediate: 96,
  rope: { ...llamaSpec.rope, dims: 48 },
};
const down = 'model.layers.0.mlp.down_proj';
const output = 'model.layers.1.self_attn.o_proj';
const hadamard = (size: number) => ({ kind: 'hadamard', size });
const input = (rotation: object, linear = down, rest = {}) => ({ at: 'input', linear, rotation, ...rest });
const queryKey = (rotation: object, layer = 1) => ({ at: 'queryKey', layer, rotation });

/** A folder that says so of itself. */
async function rotated(online: readonly object[]): Promise<MemoryStore> {
  const store = syntheticFolder(spec);
  const source = await store.open('model/config.json');
  const bytes = new Uint8Array(source.size);
  await source.readInto(bytes, 0);
  const config = JSON.parse(new TextDecoder().decode(bytes)) as object;
  const quantization_config = { quant_method: 'fewbits', version: 1, online, tensors: {} };
  await store.remove('model/config.json');
  await store.append('model/config.json', new TextEncoder().encode(JSON.stringify({ ...config, quantization_config })));
  return store;
}

const opened = async (online: readonly object[]) => open({ store: await rotated(online), name: 'model' });

describe('rotations that stay in a model', () => {
  test('of the sizes that belong there', async () => {
    const online = [
      input(hadamard(96)),
      input({ kind: 'orthogonal', size: 144, seed: 1 }, output),
      input(hadamard(48), output),
      input({ kind: 'orthogonal', size: 3, seed: 1 }, output, { stride: 48 }),
      queryKey(hadamard(48)),
    ];
    expect((await opened(online)).online).toEqual(online);
  });

  test.each<[string, object, RegExp]>([
    ['a huge orthogonal one', input({ kind: 'orthogonal', size: 20_000, seed: 1 }), /<=16384 at online.0.rotation.size/],
    ['a large one that does not divide', input({ kind: 'orthogonal', size: 16_384, seed: 1 }), /got 16384, limit 96 or 48/],
    ['a Hadamard one that does not divide', input(hadamard(7)), /down_proj: a rotation of a size.*got 7/],
    ['one that divides, of no place', input(hadamard(24)), /got 24, limit 96 or 48/],
    ['the width, strided', input(hadamard(96), down, { stride: 2 }), /got 96, limit 48/],
    ['a stride that does not divide', input(hadamard(20), output, { stride: 7 }), /got 20, limit 20.57/],
    ['a size without a matrix', input(hadamard(132), 'model.layers.0.mlp.up_proj'), /no Hadamard matrix of this size.*got 132/],
    ['no such linear', input(hadamard(96), 'model.layers.7.mlp.down_proj'), /a rotation of what the model does not have/],
    ['of a norm', input(hadamard(132), 'model.norm'), /a rotation of what the model does not have/],
    ['no such layer', queryKey(hadamard(48), 2), /layer 2: a rotation of what the model does not have/],
    ['half a head', queryKey(hadamard(24)), /layer 1: .*got 24, limit 48/],
  ])('%s is refused', async (_, online, message) => {
    const began = performance.now();
    const attempt = opened([online]);
    await expect(attempt).rejects.toThrow(message);
    await expect(attempt).rejects.toThrow(FormatError);
    expect(performance.now() - began).toBeLessThan(5000);
  });

  test('a place turns a few times at most', async () => {
    const many = (count: number) => Array.from({ length: count }, () => input(hadamard(96)));
    expect((await opened(many(4))).online).toHaveLength(4);
    await expect(opened(many(5))).rejects.toThrow(/more rotations of one place.*got 5, limit 4/);
  });

  test('no orthogonal matrix is begun that is too large', () => {
    expect(() => orthogonalMatrix(20_000, 1)).toThrow(RecipeError);
    expect(() => randomRotation(16_386, 1)).toThrow(/takes too long .*got 16386, limit 16384/);
    expect(randomRotation(2 ** 15, 1)).toMatchObject({ kind: 'hadamard', size: 2 ** 15 });
  });
});
