/** The container compressed-tensors against what llm-compressor wrote. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { writeSafetensors } from '../checkpoint/safetensors/index.ts';
import type { JsonObject } from '../checkpoint/types.ts';
import { open } from '../format/index.ts';
import { packTile, unpackTile } from '../format/packings.ts';
import { MemoryStore } from '../io/index.ts';
import { plan, recipeFromOptions, weightType } from '../recipe/index.ts';
import { fromF32, type Tensor, toF32 } from '../tensor/index.ts';
import { folderOf, goldenBytes, goldenCases, goldenJson, tensorsOf } from './golden.fixture.node.ts';
import { run } from './run.ts';
import { verify } from './verify.ts';
import { weightReader } from './weights.ts';

interface Case {
  load_dtype?: string;
  dequantized_sha256: Record<string, { dtype: string; shape: number[]; sha256: string }>;
}

const dtypes: Record<string, 'f32' | 'f16' | 'bf16'> = { float32: 'f32', float16: 'f16', bfloat16: 'bf16' };
const container = 'compressed-tensors';
const load = (name: string) => ({
  info: goldenJson<Case>(`${container}/${name}/case.json`),
  config: goldenJson<JsonObject>(`${container}/${name}/config.json`),
  weights: goldenBytes(`${container}/${name}/model.safetensors`),
});

describe.each(goldenCases(container, /^(old-)?w\d/))('%s', (name) => {
  const { info, config, weights } = load(name);
  const opened = () => open({ store: folderOf({ 'config.json': config, 'model.safetensors': weights }), name: 'model' });

  test('reading gives the weights that the package dequantizes', async () => {
    const model = await opened();
    expect(model.container).toBe(container);
    expect(model.spec === undefined).toBe(name.startsWith('old-')); // those hold linears only
    const read = weightReader(model);
    for (const [tensor, { dtype, shape, sha256 }] of Object.entries(info.dequantized_sha256)) {
      expect(model.tensors.find((one) => one.name === tensor)!.shape, tensor).toEqual(shape);
      const bytes = fromF32(dtypes[dtype]!, await read(tensor));
      expect(createHash('sha256').update(bytes).digest('hex'), tensor).toBe(sha256);
    }
    expect(await verify(model)).toMatchObject({ ok: true, problems: [] });
  });

  test('the fields packed again are the same bytes', async () => {
    const model = await opened();
    for (const { stored, name: tensor } of model.tensors) {
      if (stored.form !== 'tile') continue;
      const fields: Record<string, Uint8Array> = {};
      for (const [key, { handle, offset, rowBytes, whole }] of Object.entries(stored.fields)) {
        const { bytes } = handle as Extract<typeof handle, { kind: 'memory' }>;
        fields[key] = bytes.slice(offset, offset + (whole ?? stored.rows * rowBytes));
      }
      const tile = unpackTile(stored.tile, fields, { rows: stored.rows, cols: stored.cols, from: 0, to: stored.rows });
      expect(packTile(tile, stored.tile), tensor).toEqual(fields);
    }
  });
});

/** Written from the weights: round to nearest of 4 and 8 bits. */
const written: { name: string; bits: number; group?: number; symmetric?: boolean; changes?: JsonObject }[] = [
  { name: 'w4-sym-g32', bits: 4, group: 32 },
  { name: 'w4-sym-g32-f16', bits: 4, group: 32 },
  { name: 'w4-sym-g32-f32', bits: 4, group: 32 },
  { name: 'w4-sym-g128', bits: 4, group: 128 },
  { name: 'w4-asym-g32', bits: 4, group: 32, symmetric: false },
  { name: 'w4-asym-g32-f32', bits: 4, group: 32, symmetric: false },
  { name: 'w4-asym-channel', bits: 4, group: -1, symmetric: false },
  { name: 'w8-sym-g128', bits: 8, group: 128 },
  { name: 'w8-asym-channel', bits: 8, group: -1, symmetric: false },
  { name: 'w8-naive', bits: 8, group: -1, changes: { granularity: 'tensor' } },
  { name: 'w8a8-int', bits: 8 },
];

describe.each(written)('$name from the weights', ({ name, bits, group, symmetric = true, changes }) => {
  test('the same tensors and configuration', async () => {
    const { info, config, weights } = load(name);
    const source = await open({ store: await inputAs(dtypes[info.load_dtype!]!), name: 'model' });
    const options = {
      to: container,
      bits,
      symmetric,
      ...(group !== undefined && { group }),
      ...(name === 'w8a8-int' && { activationBits: 8 }),
    };
    const recipe = recipeFromOptions(options, 'model', 'out', weightType(source));
    Object.assign(recipe.scheme!, changes);
    const store = new MemoryStore('output');
    const report = await run(await plan(source, recipe, { output: 'out' }), store, { threads: 2 });
    expect(report.warnings).toEqual([]);
    const bytes = await store.open('out/model.safetensors');
    const made = new Uint8Array(bytes.size);
    await bytes.readInto(made, 0);
    const [tensors, expected] = [await tensorsOf(made), await tensorsOf(weights)];
    expect([...tensors.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [key, tensor] of expected) expect(tensors.get(key), key).toEqual(tensor);
    const model = await open({ store, name: 'out' });
    expect(model.checkpoint.config!['quantization_config']).toEqual(config['quantization_config']);
    const q = model.tensors.find((one) => one.role === 'q')!;
    const input = { bits: 8, symmetric: true, dynamic: true, per: 'token' };
    expect(q.input).toEqual(name === 'w8a8-int' ? input : undefined);
    expect(await verify(model, source)).toMatchObject({ ok: true, problems: [] });
  });
});

/** The model of all cases, loaded in another dtype: its values are exact in all three. */
async function inputAs(type: 'f32' | 'f16' | 'bf16'): Promise<MemoryStore> {
  const tensors = new Map<string, Tensor>();
  for (const [key, { type: from, shape, bytes }] of await tensorsOf(goldenBytes(`${container}/_input/model.safetensors`)))
    tensors.set(key, { type, shape, bytes: fromF32(type, toF32(from, bytes)) });
  const file = writeSafetensors(tensors, new Map([['format', 'pt']]));
  return folderOf({ 'config.json': goldenJson(`${container}/_input/config.json`), 'model.safetensors': file });
}

describe('formats that are not read are named', () => {
  const refused = goldenJson<Record<string, JsonObject>>(`${container}/refused.json`);
  const { config, weights } = load('w4-sym-g32');
  test.each([
    ['fp8-dynamic', /float-quantized.*config_groups.group_0/],
    ['fp8-block', /float-quantized/],
    ['mixed-fp8-w4', /float-quantized.*config_groups.group_0/],
    ['nvfp4a16', /nvfp4-pack-quantized/],
    ['mxfp4a16', /mxfp4-pack-quantized/],
    ['mxfp8a16', /mxfp8-quantized/],
    ['w4-kvcache-fp8', /key\/value cache.*kv_cache_scheme/],
  ])('%s', async (name, message) => {
    const changed = { ...config, quantization_config: refused[name]! };
    const store = folderOf({ 'config.json': changed, 'model.safetensors': weights });
    await expect(open({ store, name: 'model' })).rejects.toThrow(message);
  });
});
