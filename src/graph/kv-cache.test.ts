/** A cache in few bits against the pass that computes what it would show, and both against keys and values that are exact. */
import { afterAll, describe, expect, test } from 'vitest';
import { loadRuntime } from '#graph/runtime';
import { ModelError, RecipeError } from '../errors.ts';
import { modelTensors } from '../model/index.ts';
import type { ModelSpec } from '../model/types.ts';
import { Random } from '../numeric/random.ts';
import { kvBytes } from '../quantize/kv/scheme.ts';
import type { KvScheme, KvSide } from '../quantized/types.ts';
import { buildGram } from './gram.ts';
import { loadLanguageModel } from './language-model.ts';
import type { Backend } from './onnx-runtime.ts';
import { quantizeCache } from './quantize-cache.ts';
import type { WeightReader } from './types.ts';

const spec: ModelSpec = {
  architecture: 'mistral',
  hidden: 32,
  intermediate: 48,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  vocab: 40,
  context: 64,
  normEpsilon: 1e-6,
  rope: { dims: 16, base: 10000, scaling: { kind: 'none' } },
  tied: true,
  bias: { q: false, k: false, v: false, o: false, gate: false, up: false, down: false },
  qkNorm: false,
  window: [undefined, 20],
};

const shapes = new Map(modelTensors(spec).map(({ name, shape }) => [name, shape]));
const weights: WeightReader = async (name) => {
  const random = new Random([...name].reduce((sum, c) => sum + c.charCodeAt(0), 0));
  const shape = shapes.get(name)!;
  const length = shape.reduce((n, d) => n * d, 1);
  return Float32Array.from({ length }, () => (shape.length === 1 ? 1 : 0.3) * random.gaussian());
};

const channel = (bits: KvSide['bits'], group = 8): KvSide => ({ bits, per: 'channel', group });
const token = (bits: KvSide['bits'], group = 16): KvSide => ({ bits, per: 'token', group });
const kivi: KvScheme = { key: channel(2), value: token(2), residual: 8, sinks: 0, hadamard: false };
const schemes: Record<string, KvScheme> = {
  'KIVI with 2 bits': kivi,
  '4 bits, groups of 4 tokens and channels, sinks': {
    key: channel(4, 4),
    value: token(4, 4),
    residual: 6,
    sinks: 3,
    hadamard: false,
  },
  '8 bits, rotated, no residual': { key: channel(8), value: token(8), residual: 0, sinks: 1, hadamard: true },
  'keys and values per token, blocks of 32': { key: token(4), value: token(2), residual: 0, sinks: 0, hadamard: false },
  'values per channel, symmetric': {
    key: { ...channel(4, 4), symmetric: true },
    value: { ...channel(8, 8), symmetric: true },
    residual: 0,
    sinks: 5,
    hadamard: true,
  },
  e4m3: { key: channel('fp8'), value: token('fp8', 8), residual: 3, sinks: 2, hadamard: false },
};

const [batch, length] = [2, 43];
const ids = Int32Array.from({ length: batch * length }, (_, i) => (i * i * 7 + i) % spec.vocab);

const runtimes = await loadRuntime({ runtime: 'native' }).then(
  (): Backend[] => ['native', 'wasm'],
  (): Backend[] => ['wasm'],
);

/** Largest difference, and the mean one. */
function distance(a: Float32Array, b: Float32Array): { most: number; mean: number } {
  const each = a.map((v, i) => Math.abs(v - b[i]!));
  return { most: each.reduce((most, v) => Math.max(most, v), 0), mean: each.reduce((sum, v) => sum + v, 0) / each.length };
}

describe.each(runtimes)('on %s', async (runtime) => {
  const model = await loadLanguageModel(spec, weights, { runtime, threads: 1 });
  afterAll(() => model.close());

  test.each(Object.entries(schemes))('%s: one pass, a prompt and single steps see the same', async (_, scheme) => {
    const quantized = model.withCache(scheme);
    const exact = await model.logits(ids, batch, length);
    const pass = await quantized.logits(ids, batch, length);
    const prompt = await quantized.decoder(batch);
    const whole = await prompt.step(ids);
    const decoder = await quantized.decoder(batch);
    const steps = new Float32Array(pass.length);
    for (let t = 0; t < length; t++) {
      const row = await decoder.step(Int32Array.from({ length: batch }, (_, b) => ids[b * length + t]!));
      for (let b = 0; b < batch; b++)
        steps.set(row.subarray(b * spec.vocab, (b + 1) * spec.vocab), (b * length + t) * spec.vocab);
    }
    // Sums in another order move a key by its last bit: where that turns it, a scale or a code to a neighbour, logits move too.
    const effect = distance(pass, exact).mean;
    for (const found of [distance(whole, pass), distance(steps, pass)]) expect(found.mean).toBeLessThan(0.01 * effect);
    expect(effect).toBeGreaterThan(5e-3);
    for (const one of [prompt, decoder]) {
      expect(one.length).toBe(length);
      expect(one.cacheBytes).toBe(kvBytes({ ...spec, batch }, length, scheme));
    }
    await quantized.close();
  });

  test('tokens inside the residual window and sinks are f16', async () => {
    for (const kept of [{ residual: length }, { sinks: length }, { sinks: 20, residual: 20 }]) {
      const quantized = model.withCache({ ...kivi, ...kept });
      expect(distance(await quantized.logits(ids, batch, length), await model.logits(ids, batch, length)).most).toBeLessThan(
        0.02,
      );
      expect(
        await (async () => {
          const decoder = await quantized.decoder(1);
          await decoder.step(ids.subarray(0, 12));
          return decoder.cacheBytes;
        })(),
      ).toBe(12 * 2 * spec.layers * spec.kvHeads * spec.headDim * 2);
      await quantized.close();
    }
  });

  test('losses and hidden states are those of the same pass', async () => {
    const quantized = model.withCache(kivi);
    const losses = await quantized.losses(ids, batch, length);
    const { logits } = await quantized.hidden(ids, batch, length);
    const plain = await model.losses(ids, batch, length);
    let furthest = 0;
    for (let b = 0; b < batch; b++)
      for (let t = 0; t + 1 < length; t++) {
        const y = logits.subarray((b * length + t) * spec.vocab, (b * length + t + 1) * spec.vocab);
        const nll = Math.log(y.reduce((sum, v) => sum + Math.exp(v), 0)) - y[ids[b * length + t + 1]!]!;
        furthest = Math.max(furthest, Math.abs(nll - losses[b * (length - 1) + t]!));
      }
    expect(furthest).toBeLessThan(1e-4);
    expect(distance(losses, plain).most).toBeGreaterThan(0.01);
    await quantized.close();
    // The model goes on after the view of it.
    expect(await model.losses(ids, batch, length)).toEqual(plain);
  });
});

test.each([
  ['bits', { key: { ...kivi.key, bits: 3 as 4 } }, /keys of a KV cache: no such bits \(got 3/],
  ['groups of channels', { value: token(4, 5) }, /values of a KV cache: groups of channels do not fill a head/],
  ['groups of tokens', { key: channel(4, 8), value: channel(4, 6) }, /groups of tokens do not fill a block/],
  ['a residual', { residual: -1 }, /the residual of a KV cache is a whole number/],
  ['sinks', { sinks: 0.5 }, /the sinks of a KV cache/],
] as [string, Partial<KvScheme>, RegExp][])('refuses %s', async (_, change, message) => {
  const model = await loadLanguageModel(spec, weights, { threads: 1 });
  expect(() => model.withCache({ ...kivi, ...change })).toThrow(RecipeError);
  expect(() => model.withCache({ ...kivi, ...change })).toThrow(message);
  await model.close();
});

test('refuses what has no attention, and rotations of odd heads', () => {
  expect(() => quantizeCache(buildGram(), spec, kivi)).toThrow(ModelError);
  expect(() => quantizeCache(buildGram(), { ...spec, headDim: 48 }, { ...kivi, hadamard: true })).toThrow(/power of two/);
});
