/** GGUF files against those that llama.cpp makes of the same models: metadata, order, types and bytes of every tensor. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/index.ts';
import { golden, type HashedTensor, hashedTensors, json, project, readJson, sha256, temporaryFolder } from './cli.ts';

interface GoldenFile {
  file_sha256?: string;
  kv?: Record<string, { value: unknown }>;
  metadata?: Record<string, string>;
  /** `ne`: dimensions, innermost first. */
  tensors: { name: string; type: string; ne: number[]; sha256: string }[];
}

const folder = temporaryFolder();
const models = {
  'tinystories-3.7m': project('models/tinystories-3.7m'),
  stories260K: golden('models/stories260K'),
};
const names = Object.keys(models) as (keyof typeof models)[];
const f16 = (model: string) => join(folder, `${model}.f16.gguf`);
const expected = (file: string) => readJson<GoldenFile>(golden(`gguf/${file}`));
/** Golden files of a model's file types: `tinystories-3.7m.Q2_K.imatrix.json`. */
const filesOf = (model: string) =>
  readdirSync(golden('gguf')).filter((file) => file.startsWith(`${model}.`) && file.endsWith('.json') && !file.includes('.F16.'));

function tensorsOf({ tensors }: GoldenFile): HashedTensor[] {
  return tensors.map(({ name, type, ne, sha256 }) => {
    return { name, type: type.toLowerCase() as HashedTensor['type'], shape: ne.toReversed(), sha256 };
  });
}

beforeAll(async () => {
  for (const name of names) await json('quantize', models[name], '-o', f16(name), '--type', 'f16');
});

describe('f16 equals convert_hf_to_gguf.py', () => {
  test.each(names)('%s: tensors', async (name) => {
    expect(await hashedTensors(f16(name))).toEqual(tensorsOf(expected(`${name}.F16.json`)));
  });

  test('stories260K: the whole file', () => {
    const file = readFileSync(f16('stories260K'));
    expect(sha256(file)).toBe(expected('stories260K.F16.json').file_sha256);
    expect(sha256(file)).toBe(sha256(readFileSync(golden('gguf/stories260K-f16.gguf'))));
  });

  test('tinystories-3.7m: metadata', async () => {
    const { gguf, close } = await openCheckpoint(f16('tinystories-3.7m'));
    const metadata = expected('tinystories-3.7m.F16.json').metadata!;
    expect([...gguf!.keys()].sort()).toEqual(Object.keys(metadata).sort());
    // The golden file holds values as text, long arrays cut.
    for (const [key, text] of Object.entries(metadata)) {
      const value = gguf!.get(key)!.value;
      if (typeof value === 'number') expect(value, key).toBe(Number(text));
      else if (!Array.isArray(value)) expect(`${value}`.toLowerCase(), key).toBe(text.toLowerCase());
    }
    await close();
  });
});

describe('quantized files equal those of llama-quantize, made from the f16 file', () => {
  for (const name of names) {
    test.each(filesOf(name))('%s', async (file) => {
      const wanted = expected(file);
      const out = join(folder, file.replace(/json$/, 'gguf'));
      const stats = file.includes('.imatrix.') ? ['--stats', golden(`gguf/${name}.imatrix.gguf`)] : [];
      const type = file.slice(name.length + 1).split('.')[0]!;
      const report = await json<{ bytes: number }>('quantize', f16(name), '-o', out, '--type', type, ...stats);
      expect(await hashedTensors(out)).toEqual(tensorsOf(wanted));
      expect(report.bytes).toBe(readFileSync(out).length);
    });
  }

  test('all file types of the golden folder were made', () => {
    expect(names.map((name) => filesOf(name).length)).toEqual([17, 10]);
  });

  test('metadata: keys of llama-quantize in its order, then the provenance', async () => {
    const { gguf, close } = await openCheckpoint(join(folder, 'stories260K.Q4_K_M.gguf'));
    const { kv } = expected('stories260K.Q4_K_M.json');
    expect([...gguf!.keys()]).toEqual([...Object.keys(kv!), 'fewbits.version', 'fewbits.source', 'fewbits.recipe']);
    for (const key of ['general.file_type', 'general.quantization_version', 'llama.block_count', 'general.name'])
      expect(gguf!.get(key)!.value).toEqual(kv![key]!.value);
    await close();
  });
});

describe('straight from the Hugging Face folder, without the f16 file between', () => {
  async function direct(model: keyof typeof models, type: string) {
    const out = join(folder, `${model}.direct.${type}.gguf`);
    await json('quantize', models[model], '-o', out, '--type', type);
    const wanted = tensorsOf(expected(`${model}.${type}.json`));
    const made = await hashedTensors(out);
    expect(made.map(({ sha256: _, ...rest }) => rest)).toEqual(wanted.map(({ sha256: _, ...rest }) => rest));
    return made.filter((tensor, i) => tensor.sha256 !== wanted[i]!.sha256).map(({ name }) => name);
  }

  // 243 bf16 weights, all below 1e-5, lie between two f16 numbers. Which tensors feel that was found by llama.cpp's own bytes.
  const differing = { Q4_0: [], Q6_K: [], Q4_K_M: ['blk.3.ffn_up.weight'] };
  test.each(Object.entries(differing))('tinystories-3.7m %s: the same bytes but for %j', async (type, names) => {
    expect(await direct('tinystories-3.7m', type)).toEqual(names);
  });

  // f32 weights lose bits in f16: quantized matrices differ, norms stay equal.
  test('stories260K Q8_0: the same types and order, other bytes in the matrices', async () => {
    const differing = await direct('stories260K', 'Q8_0');
    expect(differing.length).toBeGreaterThan(0);
    expect(differing.filter((name) => name.includes('norm'))).toEqual([]);
  });
});
