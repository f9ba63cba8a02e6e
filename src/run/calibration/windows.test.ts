import { describe, expect, test } from 'vitest';
import { FormatError, ModelError, RecipeError } from '../../errors.ts';
import { open } from '../../format/index.ts';
import { llamaSpec, syntheticFolder, syntheticModel } from '../../format/synthetic.fixture.ts';
import type { Tokenizer } from '../../tokenizer/index.ts';
import { chatTemplateOf, renderedChats } from './chat.ts';
import { coverage, inputCoverage } from './coverage.ts';
import { documentsOf, utf8Text } from './documents.ts';
import { calibrationWindows } from './windows.ts';

/** A token a character, 'a' = 0. It wants BOS, which calibration leaves out. */
const tokenizer = {
  vocabSize: 96,
  bosId: 95,
  eosIds: [],
  addBos: true,
  encode: (text: string) => Int32Array.from(text, (c) => c.charCodeAt(0) - 97),
  decode: () => '',
} satisfies Tokenizer;
const alphabet = 'abcdefghijklmnopqrstuvwxyz';
const windows = (text: string, options: Partial<Parameters<typeof calibrationWindows>[3]> = {}) =>
  calibrationWindows(llamaSpec, tokenizer, text, { context: 4, ...options });

describe('calibration windows', () => {
  test('one after another from the beginning, without BOS', () => {
    const { ids, samples, warnings } = windows(alphabet, { samples: 2 });
    expect([[...ids], samples, warnings]).toEqual([[0, 1, 2, 3, 4, 5, 6, 7], 2, []]);
  });

  test('by default as many as there are, up to 128', () => {
    const short = windows(alphabet);
    expect([short.samples, short.warnings]).toEqual([6, ['the calibration text has only 6 windows of 4 tokens, 128 are usual']]);
    expect(windows(alphabet.repeat(40)).samples).toBe(128);
  });

  test('with a seed at random places, the same ones each time', () => {
    const text = alphabet.repeat(4);
    const [a, b, c] = [1, 1, 2].map((seed) => windows(text, { samples: 50, seed }));
    expect(a).toEqual(b);
    expect(a!.ids).not.toEqual(c!.ids);
    for (let k = 0; k < 50; k++) expect((a!.ids[4 * k]! + 1) % 26).toBe(a!.ids[4 * k + 1]);
    expect(windows('abcd', { seed: 1, samples: 3 }).ids).toEqual(Int32Array.of(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3));
  });

  test.each<[string, string, object, RegExp]>([
    [
      'fewer windows than asked for',
      alphabet,
      { samples: 7 },
      /26 tokens, that is 6 windows of 4, and 7 are wanted; use a longer text or at most 6 samples/,
    ],
    ['less than a window', 'abc', {}, /3 tokens, less than one window of 4; .*context of at most 3/],
    ['one token', 'a', {}, /1 tokens, less than one window of 4; use a longer text$/],
    ['nothing', '', {}, /the calibration text is empty; give one of at least 4 tokens$/],
    ['less than a window, at random', 'abc', { seed: 1 }, /too short/],
    ['a context past the model', alphabet, { context: 129 }, /longer than the model allows.*got 129, limit 128/],
  ])('%s is refused', (_, text, options, message) => {
    expect(() => windows(text, options)).toThrow(RecipeError);
    expect(() => windows(text, options)).toThrow(message);
  });

  test('a tokenizer of another model is refused', () => {
    expect(() => windows(`${alphabet}\u0100`)).toThrow(/not in the model's vocabulary/);
  });
});

describe('the text', () => {
  test('JSON lines of texts are documents; what only begins like them is a text', () => {
    const lines = alphabet.match(/../g)!.map((text) => JSON.stringify({ text, source: 'x' }));
    expect(windows(`\n${lines.join('\r\n\n')}\n`, { samples: 6 }).ids).toEqual(windows(alphabet, { samples: 6 }).ids);
    expect(() => windows('{"text":"ab"}\nplain')).toThrow(/line 2/);
    expect(() => windows('{"text":"ab"}\n{"texts":"c"}')).toThrow(FormatError);
    for (const text of ['{"text": 1}', '{text}', '{"a":{}}', '{', '{"text":"a"} b'])
      expect(documentsOf(text)).toEqual({ parts: [text], warnings: [] });
  });

  test('conversations without their template are told of', () => {
    const text = '{"messages":[{"role":"user","content":"u"}]}\n{"messages":[]}';
    expect(documentsOf(text)).toEqual({ parts: [text], warnings: [expect.stringMatching(/--chat-template renders them/)] });
  });

  test.each<[string, number[], number]>([
    ['a byte of Latin-1', [0x61, 0x62, 0xe9, 0x63], 2],
    ['a byte at the end', [0x61, 0xff], 1],
    ['UTF-16', [0xff, 0xfe, 0x61, 0x00], 0],
    ['half a character', [0x61, 0xe2, 0x82], 1],
    ['a surrogate', [0xc3, 0xa9, 0xed, 0xa0, 0x80], 2],
  ])('%s is refused with its offset', (_, tail, offset) => {
    for (const before of [0, 1, 7, 1000]) {
      const bytes = new Uint8Array(3 * before + tail.length);
      for (let i = 0; i < before; i++) bytes.set([0xe2, 0x82, 0xac], 3 * i);
      bytes.set(tail, 3 * before);
      const byte = tail[offset]!.toString(16);
      expect(() => utf8Text(bytes, 'f.txt')).toThrow(
        `f.txt: the text is not UTF-8: byte 0x${byte} at offset ${3 * before + offset}`,
      );
    }
    expect(utf8Text(Uint8Array.of(0xef, 0xbb, 0xbf, 0xe2, 0x82, 0xac), 'f.txt')).toBe('€');
  });
});

describe('chats', () => {
  const template = '{% for m in messages %}{{ m.role }}:{{ m.content }}{{ end }}{% endfor %}';
  const render = (text: string) => renderedChats(text, { template, variables: { end: '!' } });

  test('paragraphs, lines and JSON lines', () => {
    expect(render('a\nb\n\nc\n')).toEqual(['user:a\nb!', 'user:c!']);
    expect(render('a\nb\n')).toEqual(['user:a!', 'user:b!']);
    const messages = '{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}]}';
    expect(render(`${messages}\n{"text":"t"}\n`)).toEqual(['system:s!user:u!', 'user:t!']);
  });

  test.each([
    ['{"text":1}', /line 1/],
    ['{"text":"a"}\n{"messages":[]}', /line 2/],
    ['{"messages":[{"role":"user"}]}', /"messages"/],
    ['{"text":"a"}\nplain', /JSON/],
  ])('%s is refused', (text, message) => {
    expect(() => render(text)).toThrow(FormatError);
    expect(() => render(text)).toThrow(message);
  });

  test('the template of a model, with its special tokens', async () => {
    const files = (config: object) => ({ files: { 'tokenizer_config.json': JSON.stringify(config) } });
    const model = (config: object) => open({ store: syntheticFolder(llamaSpec, files(config)), name: 'model' });
    const named = [
      { name: 'tools', template: 'x' },
      { name: 'default', template: 'y' },
    ];
    expect(await chatTemplateOf(await model({ chat_template: 't', bos_token: '<s>', eos_token: { content: '</s>' } }))).toEqual({
      template: 't',
      variables: { bos_token: '<s>', eos_token: '</s>' },
    });
    expect((await chatTemplateOf(await model({ chat_template: named }))).template).toBe('y');
    await expect(chatTemplateOf(await model({}))).rejects.toThrow(ModelError);
    await expect(chatTemplateOf(await syntheticModel())).rejects.toThrow(/no chat template/);
  });
});

test('coverage: vocabulary seen, dead inputs, too few tokens', () => {
  const group = { linears: ['a'], width: 10 };
  const input = inputCoverage(group, { tokens: 8, absmax: Float32Array.of(0, 1, 0, 2, 1, 1, 1, 1, 1, 1) });
  expect(input).toEqual({ linears: ['a'], width: 10, tokens: 8, dead: 2 });
  const found = coverage(llamaSpec, windows('abcdabcd', { samples: 2 }), [input]);
  expect([found.tokens, found.vocabulary]).toEqual([8, { seen: 4, size: 96 }]);
  expect(found.warnings).toEqual([
    'a: 8 tokens are fewer than its 10 inputs, so that its Hessian is rank-deficient; use more samples',
    'a: 2 of 10 inputs were zero for every token',
  ]);
});
