import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readGguf } from '../checkpoint/gguf/index.ts';
import type { GgufMetadata, GgufValue, JsonObject } from '../checkpoint/types.ts';
import { memorySource } from '../io/memory.ts';
import { tokenizerFromGguf } from './gguf.ts';
import { tokenizerFilesFromGguf } from './gguf-folder.ts';
import { encodeWithSpecialTokens, tokenizerFromHuggingFace } from './huggingface.ts';

const golden = new URL('../../test/golden/', import.meta.url);
const json = <T>(name: string): T => JSON.parse(readFileSync(new URL(name, golden), 'utf8'));
const texts = [...json<string[]>('tokenizer/strings.json'), readFileSync(new URL('tokenizer/README.md', golden), 'utf8')];

/** The files as they are read again: through their text. */
function rebuilt(metadata: GgufMetadata) {
  const { files, warnings } = tokenizerFilesFromGguf(metadata);
  const file = (name: string) => JSON.parse(JSON.stringify(files[name])) as JsonObject;
  const parts = {
    tokenizerJson: file('tokenizer.json'),
    tokenizerConfig: file('tokenizer_config.json'),
    generationConfig: file('generation_config.json'),
  };
  return { tokenizer: tokenizerFromHuggingFace(parts), parts, warnings };
}

const strings = (value: readonly string[]): GgufValue => ({ type: 'array', of: 'string', value });

describe('SentencePiece', () => {
  const load = async () => (await readGguf(memorySource(readFileSync(new URL('gguf/stories260K-f16.gguf', golden))))).metadata;

  test('ids, text and special tokens are those of the GGUF file', async () => {
    const metadata = await load();
    const original = tokenizerFromGguf(metadata);
    const { tokenizer, warnings, parts } = rebuilt(metadata);
    expect(warnings).toEqual([]);
    expect(tokenizer).toMatchObject({ vocabSize: 512, bosId: 1, eosIds: [2], addBos: true });
    for (const text of texts) {
      const ids = [...original.encode(text)];
      expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(original.decode(ids));
    }
    expect([...encodeWithSpecialTokens(parts, 'One day')].slice(0, 1)).toEqual([1]);
  });

  test('without a space before the text', async () => {
    const metadata = new Map(await load()).set('tokenizer.ggml.add_space_prefix', { type: 'bool', value: false });
    const original = tokenizerFromGguf(metadata);
    const { tokenizer } = rebuilt(metadata);
    for (const text of texts) expect([...tokenizer.encode(text)]).toEqual([...original.encode(text)]);
  });

  test('scores that are no order are said', async () => {
    const metadata = await load();
    const size = tokenizerFromGguf(metadata).vocabSize;
    const flat: GgufValue = { type: 'array', of: 'f32', value: new Array<number>(size).fill(-1000) };
    expect(rebuilt(new Map(metadata).set('tokenizer.ggml.scores', flat)).warnings[0]).toMatch(/share their score/);
  });

  test('a token without end is not cut at every place', () => {
    const metadata: GgufMetadata = new Map<string, GgufValue>([
      ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
      ['tokenizer.ggml.tokens', strings(['<unk>', '<s>', '</s>', 'a', 'a'.repeat(2 ** 22)])],
    ]);
    expect(tokenizerFilesFromGguf(metadata).warnings[0]).toMatch(/1 tokens of more than 512 characters/);
  });
});

describe('byte-level BPE', () => {
  const original = json<{ model: { vocab: Record<string, number>; merges: [string, string][] } }>(
    'tokenizer/tinystories-3.7m/tokenizer.json',
  );
  const tokens = Object.entries(original.model.vocab)
    .sort((a, b) => a[1] - b[1])
    .map(([token]) => token);
  const metadata: GgufMetadata = new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: 'gpt-2' }],
    ['tokenizer.ggml.tokens', strings(tokens)],
    ['tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: tokens.map((_, id) => (id === 0 ? 3 : 1)) }],
    ['tokenizer.ggml.merges', strings(original.model.merges.map((pair) => pair.join(' ')))],
    ['tokenizer.ggml.bos_token_id', { type: 'u32', value: 0 }],
    ['tokenizer.ggml.eos_token_id', { type: 'u32', value: 0 }],
    ['tokenizer.chat_template', { type: 'string', value: '{{ messages }}' }],
  ]);

  test('ids are those that transformers gives', () => {
    const want = json<number[][]>('tokenizer/tinystories-3.7m.transformers.json');
    const { tokenizer, warnings, parts } = rebuilt(metadata);
    expect(warnings).toEqual([]);
    json<string[]>('tokenizer/strings.json').forEach((text, i) => {
      expect([...tokenizer.encode(text)]).toEqual(want[i]);
      expect(tokenizer.decode(want[i]!)).toBe(tokenizerFromGguf(metadata).decode(want[i]!));
    });
    expect(tokenizer).toMatchObject({ bosId: 0, eosIds: [0], addBos: false });
    expect(parts.tokenizerConfig['chat_template']).toBe('{{ messages }}');
  });

  test('what cannot be expressed is said', () => {
    const unknown = new Map(metadata).set('tokenizer.ggml.pre', { type: 'string', value: 'nobody' });
    expect(tokenizerFilesFromGguf(unknown)).toMatchObject({ files: {}, config: {} });
    expect(tokenizerFilesFromGguf(unknown).warnings[0]).toMatch(/no tokenizer.json is written: .*unknown pre-tokenizer/);
    expect(tokenizerFilesFromGguf(new Map()).warnings[0]).toMatch(/holds no tokenizer/);
  });
});
