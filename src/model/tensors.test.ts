import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ModelError } from '../errors.ts';
import { readSpec } from './read-config.ts';
import { matchTensors, modelTensors } from './tensors.ts';

const golden = (path: string) => readFileSync(new URL(`../../test/golden/architectures/${path}`, import.meta.url));
const specOf = (name: string) => readSpec(JSON.parse(golden(`${name}/config.json`).toString()));

/** Names and shapes as the file's header has them. */
function shapesOf(name: string): Map<string, { shape: number[] }> {
  const file = golden(`${name}/model.safetensors`);
  const header = JSON.parse(file.subarray(8, 8 + Number(file.readBigUInt64LE(0))).toString());
  delete header.__metadata__;
  return new Map(Object.entries(header));
}

describe('modelTensors', () => {
  test.each(['llama', 'llama-bias-headdim', 'llama-tied-rope-llama3', 'mistral', 'qwen2', 'qwen2-sliding', 'qwen3'])(
    'names exactly the tensors of %s',
    (name) => {
      const shapes = shapesOf(name);
      const tensors = modelTensors(specOf(name));
      expect(tensors.map((t) => t.name).sort()).toEqual([...shapes.keys()].sort());
      for (const { name, shape } of tensors) expect(shape).toEqual(shapes.get(name)!.shape);
    },
  );

  test('canonical order, GGUF names and roles', () => {
    const tensors = modelTensors(specOf('qwen3'));
    expect(tensors.slice(0, 3).map((t) => t.gguf)).toEqual([
      'token_embd.weight',
      'blk.0.attn_norm.weight',
      'blk.0.attn_q.weight',
    ]);
    expect(tensors.slice(-2).map((t) => [t.gguf, t.role])).toEqual([
      ['output_norm.weight', 'norm'],
      ['output.weight', 'output'],
    ]);
    expect(tensors.find((t) => t.name === 'model.layers.1.self_attn.q_norm.weight')).toEqual({
      name: 'model.layers.1.self_attn.q_norm.weight',
      gguf: 'blk.1.attn_q_norm.weight',
      role: 'qkNorm',
      layer: 1,
      shape: [20],
    });
  });

  test('q and k of the Llama family are permuted in GGUF files, biases too; those of Qwen are not', () => {
    const permuted = (name: string) =>
      modelTensors(specOf(name)).flatMap((t) => (t.permute && t.layer === 0 ? [[t.gguf, t.permute]] : []));
    expect(permuted('llama-bias-headdim')).toEqual([
      ['blk.0.attn_q.weight', 3],
      ['blk.0.attn_q.bias', 3],
      ['blk.0.attn_k.weight', 1],
      ['blk.0.attn_k.bias', 1],
    ]);
    expect(permuted('mistral')).toHaveLength(2);
    expect(permuted('qwen2')).toEqual([]);
  });
});

describe('matchTensors', () => {
  const spec = specOf('llama');

  test('finds all, with and without the prefix, past rotary buffers and a redundant tied output', () => {
    const shapes = shapesOf('llama');
    expect(matchTensors(spec, shapes).found.size).toBe(21);
    const bare = new Map([...shapes].map(([name, entry]) => [name.replace(/^model\./, ''), entry]));
    bare.set('layers.0.self_attn.rotary_emb.inv_freq', { shape: [8] });
    const match = matchTensors(spec, bare);
    expect(match.found.get('model.norm.weight')).toBe('norm.weight');
    expect(match.unused).toEqual(['layers.0.self_attn.rotary_emb.inv_freq']);
    expect(matchTensors({ ...spec, tied: true }, shapes).unused).toEqual(['lm_head.weight']);
  });

  const wrong: [string, (shapes: Map<string, { shape: number[] }>) => void, RegExp][] = [
    [
      'missing',
      (s) => s.delete('model.norm.weight'),
      /does not match the tensors: model\.norm\.weight is missing, expected \[64\]/,
    ],
    [
      'another shape',
      (s) => s.set('model.norm.weight', { shape: [65] }),
      /model\.norm\.weight has shape \[65\], expected \[64\]/,
    ],
    ['too much', (s) => s.set('model.layers.0.mlp.up_proj.bias', { shape: [128] }), /up_proj\.bias is not part of such a model/],
    ['many', (s) => s.clear(), /embed_tokens\.weight is missing.*and 18 more/],
  ];
  test.each(wrong)('names what is %s', (_, change, message) => {
    const shapes = shapesOf('llama');
    change(shapes);
    expect(() => matchTensors(spec, shapes)).toThrow(ModelError);
    expect(() => matchTensors(spec, shapes)).toThrow(message);
  });

  test('fewer layers in the configuration than in the file', () => {
    expect(() => matchTensors({ ...spec, layers: 1, window: [undefined] }, shapesOf('llama'))).toThrow(
      /\(llama, 1 layers\).*model\.layers\.1\..* is not part of such a model/,
    );
  });
});
