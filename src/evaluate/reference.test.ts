/** The embedded model on its own validation text, against float64 forward passes, llama.cpp itself and quantizations by llm-compressor. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint, readTensor } from '../checkpoint/index.ts';
import type { JsonObject } from '../checkpoint/types.ts';
import { type LanguageModel, loadLanguageModel, type WeightReader } from '../graph/index.ts';
import { type ModelSpec, matchTensors, readSpec } from '../model/index.ts';
import { decodeBf16Array } from '../numeric/bf16.ts';
import { fakeQuantize, type IntegerScheme } from '../quantize/index.ts';
import { type Tokenizer, tokenizerFromHuggingFace } from '../tokenizer/index.ts';
import { compare } from './compare.ts';
import { generate } from './generate.ts';
import { evaluate } from './perplexity.ts';
import { likeliest } from './sample.ts';

const models = new URL('../../models/', import.meta.url);
const folder = new URL('tinystories-3.7m/', models);
const json = (name: string, base = folder) => JSON.parse(readFileSync(new URL(name, base), 'utf8')) as JsonObject;
/** The first `bytes` bytes of the validation text. */
const text = (bytes: number) =>
  new TextDecoder().decode(readFileSync(new URL('text/tinystories.valid.txt', models)).subarray(0, bytes));

/** Threads of a product wait for each other by spinning: on a machine that runs other tests too, one is faster than two. */
const options = { threads: 1 };

let spec: ModelSpec;
let weights: WeightReader;
let model: LanguageModel;
let tokenizer: Tokenizer;

beforeAll(async () => {
  spec = readSpec(json('config.json'));
  tokenizer = tokenizerFromHuggingFace({
    tokenizerJson: json('tokenizer.json'),
    tokenizerConfig: json('tokenizer_config.json'),
  });
  const checkpoint = await openCheckpoint(fileURLToPath(folder));
  const { found } = matchTensors(spec, checkpoint.tensors);
  weights = async (name) => {
    const { bytes } = await readTensor(checkpoint.tensors.get(found.get(name)!)!);
    return decodeBf16Array(new Uint16Array(bytes.slice().buffer));
  };
  model = await loadLanguageModel(spec, weights, options);
});
afterAll(() => model.close());

describe('perplexity of the first 60,000 bytes', () => {
  it('by windows of 256 that do not overlap', async () => {
    const { nll, perplexity, tokens } = await evaluate(model, tokenizer, text(60_000), { protocol: 'strided', context: 256 });
    expect(tokens).toBe(16_065);
    expect(Math.abs(nll / 2.120039755 - 1)).toBeLessThan(1e-6);
    expect(Math.abs(perplexity / 8.331468703 - 1)).toBeLessThan(1e-6);
  });

  it('by the protocol of llama.cpp', async () => {
    const { nll, perplexity, tokens } = await evaluate(model, tokenizer, text(60_000), { context: 256 });
    expect(tokens).toBe(8_001);
    expect(Math.abs(nll / 2.027106391 - 1)).toBeLessThan(1e-6);
    expect(Math.abs(perplexity / 7.592086017 - 1)).toBeLessThan(1e-6);
  });
});

describe('divergence of the first 200,000 bytes', () => {
  const scheme: IntegerScheme = {
    kind: 'integer',
    bits: 4,
    symmetric: true,
    granularity: { group: 64 },
    range: 'absmax-half',
    scaleType: 'f32',
    // bf16 weights over such a scale are often near a tie: torch's f32 quotient decides.
    arithmetic: { compute: 'f32' },
  };

  it('equals the figures of rtn-4-64-sym in the six digits printed', async () => {
    const rows = json('quality/peers.json', new URL('../../test/golden/', import.meta.url))['rows'] as JsonObject[];
    const expected = rows.find(({ name }) => name === 'rtn-4-64-sym')!;
    const reader: WeightReader = async (name) => {
      const w = await weights(name);
      if (!/layers.*_proj\.weight$/.test(name)) return w;
      return fakeQuantize(w, [w.length / 64, 64], scheme).values;
    };
    const quantized = await loadLanguageModel(spec, reader, options);
    const { models: compared } = await compare(model, [quantized], tokenizer, text(200_000), {
      protocol: 'strided',
      context: 256,
    });
    await quantized.close();
    const { kl, ...figures } = compared[0]!;
    const all = { ...figures, klMean: kl.mean, klMedian: kl.median, klP99: kl.p99 };
    // Half a digit, and what two f32 forward passes differ by.
    for (const name of ['nll', 'perplexity', 'klMean', 'klMedian', 'klP99', 'sameTop', 'tokens'] as const)
      expect(Math.abs(all[name] - (expected[name] as number)), name).toBeLessThan(5e-7 + 2e-7 * all[name]);
  }, 180_000);
});

describe('generation', () => {
  it('takes the likeliest token of the whole pass at each step', async () => {
    const prompt = 'Once upon a time, there was a little';
    const pieces: string[] = [];
    const onToken = (token: { text: string }) => pieces.push(token.text);
    const { ids, text: written, stopped } = await generate(model, tokenizer, prompt, { tokens: 60, onToken });
    const start = tokenizer.encode(prompt);
    const logits = await model.logits(Int32Array.of(...start, ...ids), 1, start.length + ids.length);
    const top = ids.map((_, i) =>
      likeliest(logits.subarray((start.length + i - 1) * spec.vocab, (start.length + i) * spec.vocab)),
    );
    expect(ids).toEqual(top);
    expect(stopped).toBe('tokens');
    expect(written).toBe(tokenizer.decode(ids));
    expect(pieces.join('')).toBe(written);
    expect(written).toMatch(/^ girl named \w+\. She/);
  });

  it('ends where the context of 512 is full', async () => {
    const prompt = text(1_750);
    const { tokens, stopped } = await generate(model, tokenizer, prompt, { tokens: 512 });
    expect(stopped).toBe('context');
    // The last token is written and takes no place.
    expect(tokenizer.encode(prompt).length + tokens).toBe(513);
  });
});
