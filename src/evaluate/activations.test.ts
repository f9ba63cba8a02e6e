/** Quantized weights and inputs on the embedded model, against what llm-compressor measures; ranges on its real inputs. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint, readTensor } from '../checkpoint/index.ts';
import type { JsonObject } from '../checkpoint/types.ts';
import { type InputSchemes, type LanguageModel, loadLanguageModel, type WeightReader } from '../graph/index.ts';
import { type ModelSpec, matchTensors, readSpec } from '../model/index.ts';
import { decodeBf16Array } from '../numeric/bf16.ts';
import { fakeQuantize, type IntegerScheme, type RangeName } from '../quantize/index.ts';
import { type Tokenizer, tokenizerFromHuggingFace } from '../tokenizer/index.ts';
import { compare } from './compare.ts';

const models = new URL('../../models/', import.meta.url);
const folder = new URL('tinystories-3.7m/', models);
const json = (name: string, base = folder) => JSON.parse(readFileSync(new URL(name, base), 'utf8')) as JsonObject;
/** The first `bytes` bytes of a text. */
const text = (name: string, bytes: number) =>
  new TextDecoder().decode(readFileSync(new URL(`text/tinystories.${name}.txt`, models)).subarray(0, bytes));
const options = { threads: 1 };

let spec: ModelSpec;
let weights: WeightReader;
let model: LanguageModel;
let tokenizer: Tokenizer;
let linears: string[];

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
  model = await loadLanguageModel(spec, weights, options);
});
afterAll(() => model.close());

describe('int8 weights per channel, dynamic int8 inputs per token', () => {
  const scheme: IntegerScheme = {
    kind: 'integer',
    bits: 8,
    symmetric: true,
    granularity: 'channel',
    range: 'absmax-half',
    scaleType: 'f32',
    arithmetic: { compute: 'f32' },
  };
  const reader: WeightReader = async (name) => {
    const w = await weights(name);
    const cols = name.endsWith('down_proj.weight') ? spec.intermediate : spec.hidden;
    return /_proj\.weight$/.test(name) ? fakeQuantize(w, [w.length / cols, cols], scheme).values : w;
  };
  const inputs = (): InputSchemes =>
    new Map(linears.map((name) => [name, { bits: 8, symmetric: true, dynamic: true, per: 'token' }]));

  it('diverges as w8a8 of llm-compressor does', async () => {
    const rows = json('quality/peers.json', new URL('../../test/golden/', import.meta.url))['rows'] as JsonObject[];
    const expected = rows.find(({ name }) => name === 'w8a8')!;
    const quantized = await loadLanguageModel(spec, reader, { ...options, inputs: inputs() });
    const { models: compared } = await compare(model, [quantized], tokenizer, text('valid', 200_000), {
      protocol: 'strided',
      context: 256,
    });
    await quantized.close();
    const { kl, ...figures } = compared[0]!;
    const all = { ...figures, klMean: kl.mean, klMedian: kl.median, klP99: kl.p99 };
    expect(all.tokens).toBe(expected['tokens']);
    for (const name of ['klMean', 'klMedian', 'klP99'] as const)
      expect(Math.abs(all[name] / (expected[name] as number) - 1), name).toBeLessThan(0.03);
  }, 180_000);

  it('the decoder and the losses compute with the same inputs', async () => {
    const quantized = await loadLanguageModel(spec, reader, { ...options, inputs: inputs() });
    const ids = Int32Array.from(tokenizer.encode(text('valid', 300)).slice(0, 24));
    const logits = await quantized.logits(ids, 1, ids.length);
    const losses = await quantized.losses(ids, 1, ids.length);
    // Each token as the first of its own text.
    const starts: Float32Array[] = [];
    for (const id of ids) starts.push(await (await quantized.decoder()).step(Int32Array.of(id)));
    const alone = await quantized.logits(ids, ids.length, 1);
    const plain = await model.logits(ids, ids.length, 1);
    await quantized.close();

    const row = (all: Float32Array, t: number) => all.subarray(t * spec.vocab, (t + 1) * spec.vocab);
    for (let t = 0; t + 1 < ids.length; t++) {
      const y = row(logits, t);
      const most = Math.max(...y);
      const nll = most + Math.log(y.reduce((sum, v) => sum + Math.exp(v - most), 0)) - y[ids[t + 1]!]!;
      expect(losses[t]!).toBeCloseTo(nll, 4);
    }
    // Logits agree to 1e-6, unless an input next to a tie falls the other way because sums have another order in the decoder.
    const distance = (a: Float32Array, b: Float32Array) =>
      Math.sqrt(a.reduce((sum, v, i) => sum + (v - b[i]!) ** 2, 0) / a.length);
    const toPass = starts.map((y, t) => distance(y, row(alone, t))).sort((a, b) => a - b);
    const toPlain = starts.map((y, t) => distance(y, row(plain, t)));
    expect(toPass[Math.floor(ids.length / 2)]).toBeLessThan(1e-5);
    expect(Math.min(...toPlain)).toBeGreaterThan(0.005);
  });
});

describe('ranges on the inputs of attention', () => {
  it.each([0, 1, 2, 3])('layer %i: each leaves the least of what it minimises', async (layer) => {
    const ids = Int32Array.from(tokenizer.encode(text('train', 12_000)).slice(0, 10 * 256));
    const { states } = await model.hidden(ids, 10, 256);
    const gain = await weights(`model.layers.${layer}.input_layernorm.weight`);
    const x = normed(states.get(layer === 0 ? 'embed' : `${layer - 1}`)!, gain, spec.normEpsilon);
    const cols = spec.hidden;
    const hessian = hessianOf(x, cols);
    const meansquare = Float32Array.from({ length: cols }, (_, c) => hessian[c * cols + c]!);
    for (const role of ['q_proj', 'k_proj', 'v_proj']) {
      const w = await weights(`model.layers.${layer}.self_attn.${role}.weight`);
      const error = (range: RangeName) => {
        const scheme: IntegerScheme = {
          kind: 'integer',
          bits: 3,
          symmetric: true,
          granularity: { group: 64 },
          range,
          rangeOptions: { base: 'absmax-half' },
          scaleType: 'f16',
        };
        const { values } = fakeQuantize(w, [w.length / cols, cols], scheme, { name: role, statistics: { meansquare, hessian } });
        return outputError(w, values, hessian, cols, 64);
      };
      const [absmax, mse, imatrix, output] = (['absmax-half', 'mse', 'imatrix', 'output-mse'] as const).map(error);
      expect(imatrix!.weighted).toBeLessThan(mse!.weighted);
      expect(mse!.weighted).toBeLessThan(absmax!.weighted);
      expect(output!.groups).toBeLessThan(imatrix!.groups);
      expect(output!.groups).toBeLessThan(0.9 * absmax!.groups);
    }
  });

  /** x / sqrt(mean(x²) + ε) * gain of each token. x: [tokens, gain.length] */
  function normed(x: Float32Array, gain: Float32Array, epsilon: number): Float32Array {
    const n = gain.length;
    const out = new Float32Array(x.length);
    for (let at = 0; at < x.length; at += n) {
      let sum = 0;
      for (let c = 0; c < n; c++) sum += x[at + c]! ** 2;
      const root = Math.sqrt(sum / n + epsilon);
      for (let c = 0; c < n; c++) out[at + c] = (x[at + c]! / root) * gain[c]!;
    }
    return out;
  }

  /** (1 / tokens) X' X of x [tokens, n]. */
  function hessianOf(x: Float32Array, n: number): Float32Array {
    const sums = new Float64Array(n * n);
    for (let at = 0; at < x.length; at += n)
      for (let i = 0; i < n; i++) {
        const xi = x[at + i]!;
        for (let j = 0; j < n; j++) sums[i * n + j]! += xi * x[at + j]!;
      }
    return Float32Array.from(sums, (s) => (s * n) / x.length);
  }

  /** Σ E[input²] e², and Σ e H e' of the groups. w, decoded: [rows, n] */
  function outputError(w: Float32Array, decoded: Float32Array, hessian: Float32Array, n: number, group: number) {
    let weighted = 0;
    let groups = 0;
    for (let at = 0; at < w.length; at += n)
      for (let i = 0; i < n; i++) {
        const e = w[at + i]! - decoded[at + i]!;
        weighted += hessian[i * n + i]! * e * e;
        const start = i - (i % group);
        for (let j = start; j < start + group; j++) groups += e * hessian[i * n + j]! * (w[at + j]! - decoded[at + j]!);
      }
    return { weighted, groups };
  }
});
