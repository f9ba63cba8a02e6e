/** Caches in few bits on the embedded model: which scheme costs how much, and that decoding computes what evaluation measures. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint, readTensor } from '../checkpoint/index.ts';
import type { JsonObject } from '../checkpoint/types.ts';
import { RecipeError } from '../errors.ts';
import { type LanguageModel, loadLanguageModel, type WeightReader } from '../graph/index.ts';
import { type ModelSpec, matchTensors, readSpec } from '../model/index.ts';
import { decodeBf16Array } from '../numeric/bf16.ts';
import { kvBytes, kvPreset } from '../quantize/index.ts';
import type { KvScheme, KvSide } from '../quantized/types.ts';
import { type Tokenizer, tokenizerFromHuggingFace } from '../tokenizer/index.ts';
import { compare } from './compare.ts';
import { generate } from './generate.ts';
import { evaluate } from './perplexity.ts';

const models = new URL('../../models/', import.meta.url);
const folder = new URL('tinystories-3.7m/', models);
const json = (name: string) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as JsonObject;
const text = new TextDecoder().decode(readFileSync(new URL('text/tinystories.valid.txt', models)).subarray(0, 16_000));
const windows = { protocol: 'strided', context: 256 } as const;

let spec: ModelSpec;
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
  const weights: WeightReader = async (name) => {
    const { bytes } = await readTensor(checkpoint.tensors.get(found.get(name)!)!);
    return decodeBf16Array(new Uint16Array(bytes.slice().buffer));
  };
  model = await loadLanguageModel(spec, weights, { threads: 1 });
});
afterAll(() => model.close());

/** Mean KL of several caches, nats. */
async function klOf(schemes: Record<string, KvScheme>): Promise<Record<string, number>> {
  const caches = Object.values(schemes).map((kv) => model.withCache(kv));
  const { models: compared } = await compare(model, caches, tokenizer, text, windows);
  for (const one of caches) await one.close();
  return Object.fromEntries(Object.keys(schemes).map((name, i) => [name, compared[i]!.kl.mean]));
}

const side = (bits: KvSide['bits'], per: KvSide['per']): KvSide => ({ bits, per, group: per === 'channel' ? 32 : 64 });
/** Without a residual window, where the difference between schemes is plainest. */
const bare = (key: KvSide, value: KvSide, others: Partial<KvScheme> = {}): KvScheme => ({
  ...{ key, value, residual: 0, sinks: 0, hadamard: false },
  ...others,
});

describe('what a cache costs', () => {
  it('fewer bits cost more: fp8 lies between 8 and 4', async () => {
    const kl = await klOf(Object.fromEntries(['8', 'fp8', '4', '2'].map((name) => [name, kvPreset(name, spec.headDim)])));
    expect(kl['8']).toBeLessThan(2e-6);
    expect(kl['fp8']).toBeGreaterThan(5 * kl['8']!);
    expect(kl['4']).toBeGreaterThan(2 * kl['fp8']!);
    expect(kl['2']).toBeGreaterThan(4 * kl['4']!);
    expect(kl['2']).toBeLessThan(3e-3);
  }, 60_000);

  it.each([4, 2] as const)(
    '%i bits: keys belong per channel, and a rotation repairs part of keys per token',
    async (bits) => {
      const kl = await klOf({
        channel: bare(side(bits, 'channel'), side(bits, 'token')),
        token: bare(side(bits, 'token'), side(bits, 'token')),
        rotated: bare(side(bits, 'token'), side(bits, 'token'), { hadamard: true }),
        window: bare(side(bits, 'channel'), side(bits, 'token'), { residual: 32 }),
      });
      expect(kl['channel']).toBeLessThan(kl['token']! / 2);
      expect(kl['rotated']).toBeLessThan(kl['token']! / 1.3);
      expect(kl['channel']).toBeLessThan(kl['rotated']!);
      expect(kl['window']).toBeLessThan(kl['channel']! / 4);
    },
    60_000,
  );

  it('keys in 4 and values in 2 bits lie between', async () => {
    const of = (key: 2 | 4, value: 2 | 4) => bare(side(key, 'channel'), side(value, 'token'));
    const kl = await klOf({ k4v4: of(4, 4), k4v2: of(4, 2), k2v4: of(2, 4), k2v2: of(2, 2) });
    for (const mixed of ['k4v2', 'k2v4']) {
      expect(kl[mixed]).toBeGreaterThan(kl['k4v4']!);
      expect(kl[mixed]).toBeLessThan(kl['k2v2']!);
    }
  }, 60_000);
});

describe('the option kv', () => {
  it('evaluates and compares the same model with that cache', async () => {
    const kv = kvPreset('2', spec.headDim);
    const plain = await evaluate(model, tokenizer, text, windows);
    const cached = await evaluate(model, tokenizer, text, { ...windows, kv });
    const { reference, models: compared } = await compare(model, [model], tokenizer, text, { ...windows, kv });
    expect(reference.nll).toBeCloseTo(plain.nll, 5);
    expect(compared[0]!.nll).toBeCloseTo(cached.nll, 5);
    expect(compared[0]!.nll - reference.nll).toBeGreaterThan(2e-4);
    await expect(evaluate(model, tokenizer, text, { ...windows, kv: { ...kv, sinks: -1 } })).rejects.toThrow(RecipeError);
  }, 60_000);

  it('gives the same through the cache itself where logits exceed their bound', async () => {
    const kv = kvPreset('4', spec.headDim);
    const part = text.slice(0, 2500);
    const whole = await compare(model, [model], tokenizer, part, { ...windows, kv });
    const pieces = await compare(model, [model], tokenizer, part, { ...windows, kv, batch: 2, logitBytes: 1e6 });
    expect(pieces.models[0]!.tokens).toBe(whole.models[0]!.tokens);
    expect(pieces.models[0]!.kl.mean / whole.models[0]!.kl.mean).toBeCloseTo(1, 1);
  }, 60_000);
});

describe.each(['8', '4', '2', 'fp8'])('generation with --kv-bits %s', (bits) => {
  it('writes what the evaluation of its own text predicts, and counts its bytes', async () => {
    const kv = kvPreset(bits, spec.headDim);
    const prompt = text.slice(0, 600);
    const found = await generate(model, tokenizer, prompt, { tokens: 60, kv });
    const all = Int32Array.from([...tokenizer.encode(prompt), ...found.ids]);
    const cached = model.withCache(kv);
    const pass = await cached.logits(all, 1, all.length);
    const exact = await model.logits(all, 1, all.length);
    const decoder = await cached.decoder();
    const { vocab } = spec;
    const first = all.length - found.tokens;
    const distances: number[] = [];
    const effects: number[] = [];
    const furthest = (a: Float32Array, b: Float32Array) => a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i]!)), 0);
    for (let t = 0; t < all.length; t++) {
      const row = pass.subarray(t * vocab, (t + 1) * vocab);
      if (t >= first - 1 && t + 1 < all.length) expect(row.indexOf(Math.max(...row))).toBe(all[t + 1]);
      const step = await decoder.step(all.subarray(t, t + 1));
      distances.push(furthest(step, row));
      effects.push(furthest(exact.subarray(t * vocab, (t + 1) * vocab), row));
    }
    await cached.close();
    // Sums in another order can turn a key, a code or a scale to its neighbour, and the logits after it by a part of what the cache costs.
    const sum = (list: number[]) => list.reduce((total, v) => total + v, 0);
    expect(sum(distances) / sum(effects)).toBeLessThan(bits === '8' ? 0.3 : 0.1);
    distances.sort((a, b) => a - b);
    expect(distances[all.length >> 1]).toBeLessThan(1e-3);
    // The last token was chosen and not computed.
    expect(found.cacheBytes).toBe(kvBytes(spec, all.length - 1, kv));
    expect(found.cacheBytesF16).toBe((all.length - 1) * 2 * 2 * spec.layers * spec.kvHeads * spec.headDim);
    const plain = await generate(model, tokenizer, prompt, { tokens: 60 });
    expect(plain.cacheBytes).toBe(2 * plain.cacheBytesF16!);
    expect(found.cacheBytes).toBeLessThan(found.cacheBytesF16!);
    expect(kvBytes(spec, 4096, kv) / kvBytes(spec, 4096)).toBeLessThan({ 8: 0.56, 4: 0.31, 2: 0.19, fp8: 0.53 }[bits]!);
  }, 60_000);
});
