/** The embedded model with 8-bit weights and inputs: integers against their simulation, and what other schemes of inputs cost. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint, readTensor } from '../checkpoint/index.ts';
import type { JsonObject } from '../checkpoint/types.ts';
import {
  buildModel,
  createSession,
  type IntegerLinear,
  keepOutputs,
  type LanguageModel,
  type LanguageModelOptions,
  loadLanguageModel,
  positionFeeds,
  tapInputs,
  type WeightReader,
} from '../graph/index.ts';
import { type ModelSpec, matchTensors, readSpec } from '../model/index.ts';
import { decodeBf16Array } from '../numeric/bf16.ts';
import { observedActivations, observerOf, quantizeMatrix, staticActivations } from '../quantize/index.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { type Tokenizer, tokenizerFromHuggingFace } from '../tokenizer/index.ts';
import { compare } from './compare.ts';

const models = new URL('../../models/', import.meta.url);
const folder = new URL('tinystories-3.7m/', models);
const json = (name: string) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as JsonObject;
const text = (name: string, bytes: number) =>
  new TextDecoder().decode(readFileSync(new URL(`text/tinystories.${name}.txt`, models)).subarray(0, bytes));

let spec: ModelSpec;
let weights: WeightReader;
let model: LanguageModel;
let tokenizer: Tokenizer;
let linears: string[];
/** 8 bits a row, decoded and as codes. */
const decoded = new Map<string, Float32Array>();
const coded = new Map<string, IntegerLinear['weight']>();

beforeAll(async () => {
  spec = readSpec(json('config.json'));
  tokenizer = tokenizerFromHuggingFace({
    tokenizerJson: json('tokenizer.json'),
    tokenizerConfig: json('tokenizer_config.json'),
  });
  const checkpoint = await openCheckpoint(fileURLToPath(folder));
  const { found } = matchTensors(spec, checkpoint.tensors);
  linears = [...found.keys()].filter((name) => /_proj\.weight$/.test(name)).map((name) => name.replace(/\.weight$/, ''));
  weights = async (name) => {
    const { bytes } = await readTensor(checkpoint.tensors.get(found.get(name)!)!);
    return decodeBf16Array(new Uint16Array(bytes.slice().buffer));
  };
  for (const name of linears) {
    const w = await weights(`${name}.weight`);
    const cols = name.endsWith('down_proj') ? spec.intermediate : spec.hidden;
    const { tile, dequantized } = quantizeMatrix(w, [w.length / cols, cols], {
      kind: 'integer',
      bits: 8,
      symmetric: true,
      granularity: 'channel',
      range: 'absmax-half',
      scaleType: 'f32',
    });
    decoded.set(`${name}.weight`, dequantized());
    coded.set(name, { codes: Int8Array.from(tile.codes, (c) => c - 128), scale: tile.scale!.values });
  }
  model = await loadLanguageModel(spec, weights, { threads: 1 });
});
afterAll(() => model.close());

const load = (options: LanguageModelOptions, reader: WeightReader = weights) =>
  loadLanguageModel(spec, reader, { threads: 1, ...options });
const all = <T>(of: (name: string) => T) => new Map(linears.map((name) => [name, of(name)]));
const dynamic = { dynamic: true, per: 'token' } as const;

describe('W8A8', () => {
  it.each([true, false])(
    'in integers is the simulation within rounding (symmetric inputs: %s)',
    async (symmetric) => {
      const input: ActivationScheme = { ...dynamic, bits: 8, symmetric };
      const simulated = await load({ inputs: all(() => input) }, async (name) => decoded.get(name) ?? weights(name));
      const integers = await load({ integers: all((name) => ({ weight: coded.get(name)!, input })) });
      // Tokens alone: in a text one input next to a tie, which falls the other way where sums have another order, moves all that follow.
      const ids = tokenizer.encode(text('valid', 1000)).slice(0, 64);
      const n = ids.length;
      const [a, b, exact] = [await simulated.logits(ids, n, 1), await integers.logits(ids, n, 1), await model.logits(ids, n, 1)];
      const mean = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + Math.abs(v - y[i]!), 0) / x.length;
      const rows = Array.from({ length: n }, (_, t) => {
        const row = (all: Float32Array) => all.subarray(t * spec.vocab, (t + 1) * spec.vocab);
        return { apart: mean(row(a), row(b)), effect: mean(row(a), row(exact)) };
      });
      const apart = rows.map((row) => row.apart).sort((x, y) => x - y);
      expect(apart[n >> 1]).toBeLessThan(1e-5);
      expect(Math.min(...rows.map(({ effect }) => effect))).toBeGreaterThan(1e-3);
      const { models: compared } = await compare(model, [simulated, integers], tokenizer, text('valid', 12_000), {
        protocol: 'strided',
        context: 256,
      });
      const [kl, other] = compared.map((one) => one.kl.mean);
      expect(Math.abs(other! / kl! - 1)).toBeLessThan(0.05);
      // The decoder computes in integers too.
      const decoder = await integers.decoder();
      const step = await decoder.step(ids.subarray(0, 1));
      expect(mean(step, b.subarray(0, spec.vocab))).toBeLessThan(0.5 * rows[0]!.effect);
      await simulated.close();
      await integers.close();
    },
    60_000,
  );
});

describe('schemes of inputs', () => {
  it('finer and asymmetric ones cost less, static ones more; a percentile of the calibration text beats its extremes', async () => {
    const { limits, observers } = await observed();
    const base = (bits: number, symmetric: boolean, per: 'tensor' | 'channel' | { group: number }) => (name: string) =>
      staticActivations({ bits, symmetric, per }, limits.get(name)!);
    const live = (bits: number, symmetric: boolean, per: ActivationScheme['per']) => (): ActivationScheme => ({
      ...{ bits, symmetric, per },
      dynamic: true,
    });
    const schemes: Record<string, (name: string) => ActivationScheme> = {
      token8: live(8, true, 'token'),
      token8asym: live(8, false, 'token'),
      token4: live(4, true, 'token'),
      token4asym: live(4, false, 'token'),
      group4: live(4, true, { group: 32 }),
      e4m3: () => ({ bits: 8, float: 'e4m3', symmetric: true, dynamic: true, per: 'token' }),
      static8: base(8, true, 'tensor'),
      static8asym: base(8, false, 'tensor'),
      static8channel: base(8, false, 'channel'),
      static8percentile: (name) => observedActivations({ bits: 8, symmetric: true }, observers.get(name)!),
    };
    const loaded: LanguageModel[] = [];
    for (const scheme of Object.values(schemes)) loaded.push(await load({ inputs: all(scheme) }));
    const { models: compared } = await compare(model, loaded, tokenizer, text('valid', 8000), {
      protocol: 'strided',
      context: 256,
    });
    for (const one of loaded) await one.close();
    const kl = Object.fromEntries(Object.keys(schemes).map((name, i) => [name, compared[i]!.kl.mean]));
    for (const [better, worse] of [
      ['token8asym', 'token8'],
      ['token8', 'e4m3'],
      ['e4m3', 'token4'],
      ['token4asym', 'token4'],
      ['group4', 'token4'],
      ['token8', 'static8'],
      ['static8asym', 'static8'],
      ['static8percentile', 'static8'],
    ] as const)
      expect(kl[better], `${better} < ${worse}`).toBeLessThan(kl[worse]!);
  }, 120_000);

  /** Extremes of each channel, and percentile observers, of what linears read in the training text. */
  async function observed() {
    const { graph, taps } = tapInputs(buildModel(spec, { outputs: ['logits'] }), linears);
    const session = await createSession(keepOutputs(graph, taps.values()), { threads: 1 });
    const ids = tokenizer.encode(text('train', 12_000)).slice(0, 8 * 256);
    const feeds = positionFeeds(spec, 0, 256);
    const named: Record<string, { type: 'f32'; dims: readonly number[]; data: Float32Array }> = {};
    for (const { name, dims, weight } of keepOutputs(graph, taps.values()).inputs) {
      if (weight) named[name] = { type: 'f32', dims: dims.map(Number), data: await weights(name) };
    }
    const outputs = await session.run({
      ids: { type: 'i64', dims: [8, 256], data: BigInt64Array.from(ids, BigInt) },
      ...feeds,
      ...named,
    });
    await session.close();
    const limits = new Map<string, { min: Float32Array; max: Float32Array }>();
    const observers = new Map(linears.map((name) => [name, observerOf('percentile', { percentile: 99.999 })]));
    for (const name of linears) {
      const { data, dims } = outputs[taps.get(name)!]!;
      const width = dims[1]!;
      const min = new Float32Array(width).fill(Infinity);
      const max = new Float32Array(width).fill(-Infinity);
      for (const [i, v] of (data as Float32Array).entries()) {
        min[i % width] = Math.min(min[i % width]!, v);
        max[i % width] = Math.max(max[i % width]!, v);
      }
      limits.set(name, { min, max });
      observers.get(name)!.observe(data as Float32Array);
    }
    return { limits, observers };
  }
});
