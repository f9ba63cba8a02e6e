import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { writeSafetensors } from '../checkpoint/safetensors/index.ts';
import type { Json } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import { type MemoryStore, memorySource } from '../io/index.ts';
import { bitsPerWeight, open } from './open.ts';
import { llamaSpec, randomTensor, syntheticBag, syntheticFolder, syntheticModel, syntheticTensors } from './synthetic.fixture.ts';

/** The synthetic folder with some of its configuration changed. */
async function changed(change: { [key: string]: Json }): Promise<MemoryStore> {
  const store = syntheticFolder();
  const source = await store.open('model/config.json');
  const bytes = new Uint8Array(source.size);
  await source.readInto(bytes, 0);
  const config = { ...(JSON.parse(new TextDecoder().decode(bytes)) as object), ...change };
  await store.remove('model/config.json');
  await store.append('model/config.json', new TextEncoder().encode(JSON.stringify(config)));
  return store;
}

describe('a Hugging Face folder', () => {
  test('is understood: names, roles, layers, rows that GGUF permutes', async () => {
    const model = await syntheticModel();
    expect(model).toMatchObject({ container: 'huggingface', spec: llamaSpec, warnings: [] });
    const q = model.tensors.find((tensor) => tensor.name === 'model.layers.1.self_attn.q_proj.bias')!;
    expect(q).toMatchObject({
      role: 'bias',
      layer: 1,
      gguf: 'blk.1.attn_q.bias',
      permute: 4,
      shape: [256],
      type: 'bf16',
      bytes: 512,
    });
    expect(q.stored).toMatchObject({ rows: 256, cols: 1 });
    expect(bitsPerWeight(model)).toBe(16);
  });

  test('of an unknown architecture is a bag with a warning', async () => {
    const model = await open({ store: await changed({ model_type: 'mamba', architectures: ['Mamba'] }), name: 'model' });
    expect(model.spec).toBeUndefined();
    expect(model.warnings[0]).toMatch(/unknown architecture/);
    expect(new Set(model.tensors.map((tensor) => tensor.role))).toEqual(new Set(['norm', 'bias', 'other']));
  });

  test('whose configuration is wrong or foreign is refused', async () => {
    await expect(open({ store: await changed({ hidden_size: 128 }), name: 'model' })).rejects.toThrow(
      /does not match the tensors/,
    );
    const awq = await changed({ quantization_config: { quant_method: 'awq' } });
    await expect(open({ store: awq, name: 'model' })).rejects.toThrow(/quantized by awq, a container this version cannot read/);
    const tensors = syntheticTensors(llamaSpec);
    tensors.set('model.layers.7.extra.weight', randomTensor([2, 2], 1));
    await expect(syntheticModel(llamaSpec, { tensors })).rejects.toThrow(/extra.weight is not part of such a model/);
  });

  test('without tokenizer.json has no tokenizer', async () => {
    await expect((await syntheticModel()).tokenizer()).rejects.toThrow(ModelError);
    const broken = await syntheticModel(llamaSpec, { files: { 'tokenizer.json': '{' } });
    await expect(broken.tokenizer()).rejects.toThrow(/not JSON/);
  });
});

describe('other files', () => {
  test('a bag: names tell norms and biases, order is that of the file', async () => {
    const bag = await syntheticBag([
      ['x.bias', randomTensor([3], 1)],
      ['a', randomTensor([2, 3], 1)],
      ['final_norm', randomTensor([3], 1)],
    ]);
    expect(bag.tensors.map(({ name, role }) => [name, role])).toEqual([
      ['a', 'other'],
      ['final_norm', 'norm'],
      ['x.bias', 'bias'],
    ]);
    expect(bag.folderFiles).toBeUndefined();
  });

  test('nothing at all has no bits per weight', async () => {
    const empty = await open({ source: memorySource(writeSafetensors(new Map()), 'a.safetensors') });
    expect(bitsPerWeight(empty)).toBe(0);
  });

  test('GGUF: rows of q and k are read back to canonical order', async () => {
    const file = readFileSync(new URL('../../test/golden/gguf/stories260K-f16.gguf', import.meta.url));
    const model = await open({ source: memorySource(file, 'a.gguf') });
    const k = model.tensors.find((tensor) => tensor.fileName === 'blk.0.attn_k.weight')!;
    expect(k).toMatchObject({ name: 'model.layers.0.self_attn.k_proj.weight', role: 'k' });
    expect(k.stored.order).toEqual({ heads: model.spec!.kvHeads, way: 'deinterleave' });
    const { config, texts, warnings } = await model.folderFiles!();
    expect(config).toMatchObject({ model_type: 'llama', num_key_value_heads: model.spec!.kvHeads });
    expect(texts.map(({ name }) => name)).toContain('tokenizer.json');
    expect(warnings).toEqual([]);
  });
});
