import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { layoutGguf, readGguf } from '../../checkpoint/gguf/index.ts';
import type { JsonObject } from '../../checkpoint/types.ts';
import { memorySource } from '../../io/memory.ts';
import { type ModelSpec, modelTensors, readSpec } from '../../model/index.ts';
import { tokenizerFromGguf } from '../../tokenizer/index.ts';
import { extraTensors, ggufMetadata, quantizedMetadata } from './metadata.ts';
import { nameParts, sizeLabel } from './model-name.ts';
import { converterOrder, staysF32 } from './tensor-order.ts';
import type { FileType } from './types.ts';

const golden = new URL('../../../test/golden/', import.meta.url);
const bytes = (name: string): Buffer => readFileSync(new URL(name, golden));
const json = <T>(name: string): T => JSON.parse(bytes(name).toString());

/** The files beside a model's weights. */
function folder(model: string): { config: JsonObject; sidecars: Map<string, Uint8Array> } {
  const at = `tokenizer/${model}/`;
  const sidecars = new Map(readdirSync(new URL(at, golden)).map((name) => [name, new Uint8Array(bytes(at + name))]));
  return { config: json<JsonObject>(`${at}config.json`), sidecars };
}

/** The tensors of a converted file, in its order. */
function converted(spec: ModelSpec, big: 'f16' | 'f32') {
  return modelTensors(spec)
    .toSorted((a, b) => converterOrder()(a.name, b.name))
    .map(({ gguf, shape }) => ({ name: gguf, shape, type: staysF32(gguf, shape) ? ('f32' as const) : big }));
}

/** Keys and values that a question leaves as they are. */
function question(model: string, fileType: FileType = 'f16') {
  const { config, sidecars } = folder(model);
  const spec = readSpec(config);
  const tensors = converted(spec, 'f16');
  return { spec, config, sidecars, name: model, fileType, tensors };
}

describe('stories260K', () => {
  test('the header is that of convert_hf_to_gguf.py, byte for byte', () => {
    const { spec, ...rest } = question('stories260K');
    const { metadata, warnings } = ggufMetadata(spec, rest);
    const file = bytes('gguf/stories260K-f16.gguf');
    const layout = layoutGguf(metadata, rest.tensors);
    expect(metadata.map(([key]) => key)).toEqual(json<{ kv_order: string[] }>('gguf/stories260K.F16.json').kv_order);
    expect(layout.header).toEqual(new Uint8Array(file.subarray(0, layout.dataOffset)));
    expect(layout.fileSize).toBe(file.length);
    expect(warnings).toEqual([]);
  });

  test('the same from tokenizer.model alone', () => {
    const { spec, ...rest } = question('stories260K');
    const alone = new Map([['tokenizer.model', rest.sidecars.get('tokenizer.model')!]]);
    expect(ggufMetadata(spec, { ...rest, sidecars: alone })).toEqual(ggufMetadata(spec, rest));
  });

  test('from tokenizer.json alone, scores keep the order of the merges', () => {
    const { spec, ...rest } = question('stories260K');
    const sidecars = new Map(rest.sidecars);
    sidecars.delete('tokenizer.model');
    const original = new Map(ggufMetadata(spec, rest).metadata);
    const keys = new Map(ggufMetadata(spec, { ...rest, sidecars }).metadata);
    expect([...keys.keys()]).toEqual([...original.keys()]);
    for (const key of ['tokens', 'token_type']) {
      expect(keys.get(`tokenizer.ggml.${key}`)).toEqual(original.get(`tokenizer.ggml.${key}`));
    }
    const [ours, theirs] = [tokenizerFromGguf(keys), tokenizerFromGguf(original)];
    for (const text of json<string[]>('tokenizer/strings.json')) expect(ours.encode(text)).toEqual(theirs.encode(text));
  });

  test('keys of a quantized file stand in llama-quantize’s order', async () => {
    const source = await readGguf(memorySource(bytes('gguf/stories260K-f16.gguf')));
    for (const name of ['Q4_0', 'Q4_K_M'] as const) {
      const want = json<{ kv_order: string[]; file_type: number }>(`gguf/stories260K.${name}.json`);
      const entries = quantizedMetadata(source.metadata, name.toLowerCase() as FileType);
      expect(entries.map(([key]) => key)).toEqual(want.kv_order);
      expect(entries.at(-1)).toEqual(['general.file_type', { type: 'u32', value: want.file_type }]);
    }
  });
});

describe('tinystories-3.7m', () => {
  test('keys and values are those of convert_hf_to_gguf.py', () => {
    const { spec, ...rest } = question('tinystories-3.7m');
    const { metadata, warnings } = ggufMetadata(spec, rest);
    const want = json<{ metadata: Record<string, string> }>('gguf/tinystories-3.7m.F16.json').metadata;
    expect(metadata.map(([key]) => key)).toEqual(Object.keys(want));
    for (const [key, value] of metadata) expect(python(value.value)).toBe(cut(want[key]!, python(value.value)));
    expect(warnings).toEqual([]);
  });

  test('the tensor order is the converter’s', () => {
    const want = json<{ tensors: { name: string; type: string }[] }>('gguf/tinystories-3.7m.F16.json').tensors;
    const got = question('tinystories-3.7m').tensors.map(({ name, type }) => ({ name, type: type.toUpperCase() }));
    expect(got).toEqual(want.map(({ name, type }) => ({ name, type })));
  });

  test('another pre-tokenizer can be named; one that is unknown is said', () => {
    const { spec, ...rest } = question('tinystories-3.7m');
    const named = ggufMetadata(spec, { ...rest, pre: 'smollm' });
    expect(new Map(named.metadata).get('tokenizer.ggml.pre')?.value).toBe('smollm');
    const tokenizer = { ...json<JsonObject>('tokenizer/tinystories-3.7m/tokenizer.json'), pre_tokenizer: { type: 'Whitespace' } };
    const sidecars = new Map(rest.sidecars).set('tokenizer.json', new TextEncoder().encode(JSON.stringify(tokenizer)));
    const unknown = ggufMetadata(spec, { ...rest, sidecars });
    expect(new Map(unknown.metadata).get('tokenizer.ggml.pre')?.value).toBe('default');
    expect(unknown.warnings.join()).toMatch(/pre-tokenizer/);
  });

  test('an embedding with more rows than tokens is padded', () => {
    const { spec, ...rest } = question('tinystories-3.7m');
    const keys = new Map(ggufMetadata({ ...spec, vocab: 2050 }, rest).metadata);
    const tokens = keys.get('tokenizer.ggml.tokens')!.value as string[];
    expect(tokens).toHaveLength(2050);
    expect(tokens.slice(-2)).toEqual(['[PAD2048]', '[PAD2049]']);
    expect((keys.get('tokenizer.ggml.token_type')!.value as number[]).slice(-2)).toEqual([5, 5]);
    expect(() => ggufMetadata({ ...spec, vocab: 100 }, rest)).toThrow(/outside of the embedding/);
  });
});

/** A value as Python's str() shows it. */
function python(value: unknown): string {
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (Array.isArray(value)) return `[${value.map((item) => (typeof item === 'string' ? quoted(item) : `${item}`)).join(', ')}]`;
  if (value === 10000) return '10000.0';
  return value === Math.fround(1e-5) ? '9.999999747378752e-06' : `${value}`;
}

function quoted(text: string): string {
  const escaped = text.replaceAll('\\', '\\\\');
  return text.includes("'") && !text.includes('"') ? `"${escaped}"` : `'${escaped.replaceAll("'", "\\'")}'`;
}

/** Long values are cut off in the golden file. */
function cut(want: string, got: string): string {
  return want.length >= 150 && got.startsWith(want) ? got : want;
}

describe('rope scaling', () => {
  const base = question('stories260K');
  const keysOf = (rope: JsonObject): Map<string, unknown> => {
    const config: JsonObject = { ...base.config, rope_scaling: rope };
    const { metadata } = ggufMetadata(readSpec(config), { ...base, config });
    return new Map(metadata.filter(([key]) => key.includes('rope.scaling')).map(([key, { value }]) => [key, value]));
  };

  test('linear', () => {
    expect([...keysOf({ rope_type: 'linear', factor: 4 })]).toEqual([
      ['llama.rope.scaling.type', 'linear'],
      ['llama.rope.scaling.factor', 4],
    ]);
  });

  test('yarn', () => {
    expect([...keysOf({ type: 'yarn', factor: 8, original_max_position_embeddings: 64, beta_fast: 16 })]).toEqual([
      ['llama.rope.scaling.type', 'yarn'],
      ['llama.rope.scaling.factor', 8],
      ['llama.rope.scaling.original_context_length', 64],
      ['llama.rope.scaling.yarn_beta_fast', 16],
    ]);
  });

  test('llama3 is a tensor', () => {
    const rope = {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 64,
    };
    expect(keysOf(rope).size).toBe(0);
    const [tensor] = extraTensors(readSpec({ ...base.config, rope_scaling: rope }));
    expect(tensor).toMatchObject({ name: 'rope_freqs.weight', shape: [4] });
    expect(tensor!.values[0]).toBe(1);
    expect(tensor!.values[3]).toBe(8);
    expect(extraTensors(base.spec)).toEqual([]);
  });
});

test.each([
  ['tinystories-3.7m', 3672320, { name: 'Tinystories 3.7m', basename: 'tinystories', sizeLabel: '3.7M' }],
  ['stories260K', 260032, { name: 'stories260K' }],
  [
    'Mixtral-8x7B-Instruct-v0.1',
    46.7e9,
    { name: 'Mixtral 8x7B Instruct v0.1', basename: 'Mixtral', sizeLabel: '8x7B', finetune: 'Instruct', version: 'v0.1' },
  ],
  [
    'meta-llama/Llama-2-7b-hf',
    6.7e9,
    { name: 'Llama 2 7b Hf', organization: 'Meta Llama', basename: 'Llama-2', sizeLabel: '7B', finetune: 'hf' },
  ],
  [
    'Phi-3-mini-4k-instruct',
    3.8e9,
    { name: 'Phi 3 Mini 4k Instruct', basename: 'Phi-3', sizeLabel: 'mini', finetune: '4k-instruct' },
  ],
  ['a model with words', 1e6, { name: 'A Model With Words' }],
])('the name %s', (id, parameters, parts) => {
  expect(nameParts(id, parameters)).toEqual(parts);
});

test.each([
  [260032, '260K'],
  [3672320, '3.7M'],
  [6.74e9, '6.7B'],
  [12.5e6, '12M'],
  [46.7e9, '47B'],
  [400, '0.40K'],
  [1.8e12, '1.8T'],
])('%i parameters', (parameters, label) => {
  expect(sizeLabel(parameters)).toBe(label);
});
