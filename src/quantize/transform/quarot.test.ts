/** Rotated weights and logits as QuaRot's rotation_utils.py, quant_utils.py and gptq_utils.rtn_fwrd give them on a Llama with grouped queries. */
import { describe, expect, it } from 'vitest';
import { RecipeError } from '../../errors.ts';
import type { ModelSpec } from '../../model/types.ts';
import { type LlamaFacts, llamaSpec, readGolden, withPrefix, worst } from './golden.fixture.node.ts';
import { type Hooks, llamaLogits, type Weights } from './llama.fixture.ts';
import { type QuarotOptions, quarot } from './quarot.ts';
import { rewriteWeights, runtimeHooks } from './rewrite.fixture.ts';
import type { ModelRewrite } from './types.ts';

interface Facts {
  parameters: LlamaFacts & { online_down_K: number };
  results: Record<string, { mse: number }>;
}

const golden = readGolden<Facts>('quarot/llama_gqa');
const spec = llamaSpec(golden.facts.parameters);
const before = withPrefix(golden, 'before.');
const rows = Array.from({ length: 2 }, (_, b) => golden.tensor('ids').subarray(12 * b, 12 * b + 12));

const asTheAuthors: QuarotOptions = {
  hidden: { kind: 'hadamard', size: spec.hidden, signs: Int8Array.from(golden.tensor('signs')) },
  values: 'full',
  down: true,
};

async function rewritten(options: QuarotOptions, of: Weights = before, model: ModelSpec = spec) {
  const rewrite = await quarot(model, async (name) => of.get(name)!, options);
  return { rewrite, weights: rewriteWeights(model, of, rewrite) };
}

function logits(weights: Weights, hooks: Hooks = {}): Float64Array {
  return Float64Array.from(rows.flatMap((ids) => [...llamaLogits(spec, weights, ids, hooks)]));
}

/** Per-token quantization of quant_utils.ActQuantizer, in its f32: sym absmax r / (2^(b-1) - 1); asym min and max, 0 inside. */
function quantizeRuns(x: Float64Array, run: number, bits: number, symmetric: boolean, ratio: number, includeZero = true): void {
  const f = Math.fround;
  const [low, high] = symmetric ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
  for (let at = 0; at < x.length; at += run) {
    const values = x.subarray(at, at + run);
    const least = f(Math.min(...values, ...(includeZero ? [0] : [])) * ratio);
    const most = f(Math.max(...values, ...(includeZero ? [0] : [])) * ratio);
    const scale = f((symmetric ? Math.max(-least, most) : most - least) / high);
    const zero = symmetric ? 0 : halfEven(f(-least / scale));
    for (let i = 0; i < run; i++)
      values[i] = f(scale * (Math.max(low, Math.min(halfEven(f(f(values[i]!) / scale)) + zero, high)) - zero));
  }
}

function halfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** rtn_fwrd: symmetric rows, scale absmax p / 7 on [-8, 7], p of 80 steps by least sum |error|^2.4 where it searches. */
function roundRows(w: Float32Array, cols: number, search: boolean): Float32Array {
  const out = new Float32Array(w.length);
  for (let at = 0; at < w.length; at += cols) {
    const row = w.subarray(at, at + cols);
    const absmax = row.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < (search ? 80 : 1); i++) {
      const scale = Math.fround(Math.fround(absmax * (1 - i / 100)) / 7);
      const q = row.map((x) => scale * Math.max(-8, Math.min(halfEven(Math.fround(x / scale)), 7)));
      const error = q.reduce((sum, x, c) => sum + Math.abs(x - row[c]!) ** 2.4, 0);
      if (error < least) {
        least = error;
        out.set(q, at);
      }
    }
  }
  return out;
}

function roundLinears(weights: Weights, search: boolean): Weights {
  const widths = (name: string) => (name.includes('down_proj') ? spec.intermediate : spec.hidden);
  return new Map([...weights].map(([name, w]) => [name, /_proj\.weight$/.test(name) ? roundRows(w, widths(name), search) : w]));
}

/** The online parts of a rewrite, and what quantizes after them. */
function hooksOf(rewrite: ModelRewrite, after: Hooks = {}): Hooks {
  const online = runtimeHooks(rewrite.online);
  return {
    input(linear, x, width) {
      online.input?.(linear, x, width);
      after.input?.(linear, x, width);
    },
    value: (layer, v) => after.value?.(layer, v),
    queryKey(layer, q, k) {
      online.queryKey?.(layer, q, k);
      after.queryKey?.(layer, q, k);
    },
  };
}

const inputs = (bits: number, symmetric: boolean, ratio: number): Hooks => ({
  input: (_, x, width) => quantizeRuns(x, width, bits, symmetric, ratio),
});
const cache = (bits: number, ratio: number): Hooks => ({
  value: (_, v) => quantizeRuns(v, spec.headDim, bits, false, ratio, false),
  queryKey: (_, __, k) => quantizeRuns(k, spec.headDim, bits, false, ratio),
});

describe('spcl/QuaRot 5008669, llama_gqa', () => {
  it('rotates the weights', async () => {
    const { rewrite, weights } = await rewritten(asTheAuthors);
    const described = JSON.parse(JSON.stringify(rewrite.description));
    expect(described).toMatchObject({ kind: 'quarot', hidden: { kind: 'hadamard', size: 64 }, values: 'full', down: true });
    expect(described.hidden.signs).toMatch(/^[+-]{64}$/);
    expect(described.online).toHaveLength(4);
    expect(described.online[1]).toEqual({
      at: 'input',
      linear: 'model.layers.0.mlp.down_proj',
      rotation: { kind: 'hadamard', size: 96 },
    });
    const expected = withPrefix(golden, 'rotated.');
    expect(expected.size).toBe(16);
    for (const [name, values] of expected) expect(worst(weights.get(name)!, values), name).toBeLessThan(1e-5);
    for (const [name, values] of weights) if (/norm/.test(name)) expect(new Set(values), name).toEqual(new Set([1]));
  });

  it('logits before, rotated and with R3 are the same', async () => {
    expect(worst(logits(before), golden.tensor('logits.before'))).toBeLessThan(1e-5);
    const { rewrite, weights } = await rewritten(asTheAuthors);
    const rotated = logits(weights, hooksOf(rewrite));
    expect(worst(rotated, golden.tensor('logits.rotated'))).toBeLessThan(1e-5);
    expect(worst(rotated, golden.tensor('logits.fused'))).toBeLessThan(1e-5);
    const { rewrite: r3 } = await rewritten({ ...asTheAuthors, queryKey: true });
    expect(worst(logits(weights, hooksOf(r3)), golden.tensor('logits.r3'))).toBeLessThan(1e-5);
    // Without what stays in the model, it is another model.
    expect(worst(logits(weights), golden.tensor('logits.rotated'))).toBeGreaterThan(0.1);
  });

  it.each([
    ['a8_sym', inputs(8, true, 1)],
    ['a4_sym', inputs(4, true, 0.9)],
    ['a4_asym', inputs(4, false, 1)],
  ] as const)('%s', async (name, after) => {
    const { rewrite, weights } = await rewritten(asTheAuthors);
    expect(worst(logits(weights, hooksOf(rewrite, after)), golden.tensor(`logits.${name}`))).toBeLessThan(1e-5);
  });

  it.each([
    ['w4_rtn', false],
    ['w4_rtn_clip', true],
  ] as const)('%s', async (name, search) => {
    const { rewrite, weights } = await rewritten(asTheAuthors);
    const rounded = roundLinears(weights, search);
    if (search)
      expect(worst(rounded.get('model.layers.0.mlp.down_proj.weight')!, golden.tensor('w4_rtn_clip.layer0_down'))).toBeLessThan(
        1e-5,
      );
    expect(worst(logits(rounded, hooksOf(rewrite)), golden.tensor(`logits.${name}`))).toBeLessThan(1e-5);
  });

  it('w4a4kv4 and r3_k4v4', async () => {
    const { rewrite, weights } = await rewritten({ ...asTheAuthors, queryKey: true });
    const all = { ...inputs(4, true, 0.9), ...cache(4, 0.95) };
    const w4a4kv4 = logits(roundLinears(weights, true), hooksOf(rewrite, all));
    expect(worst(w4a4kv4, golden.tensor('logits.w4a4kv4'))).toBeLessThan(1e-5);
    const k4v4 = logits(weights, hooksOf(rewrite, cache(4, 0.95)));
    expect(worst(k4v4, golden.tensor('logits.r3_k4v4'))).toBeLessThan(1e-5);
  });
});

describe('spcl/QuaRot 5008669, llama_embedding_mean', () => {
  it('subtracts the mean of embedding rows, which moves logits by 6.3; here they stay', async () => {
    const mean = readGolden<Facts>('quarot/llama_embedding_mean');
    const model = llamaSpec(mean.facts.parameters);
    const plain = withPrefix(mean, 'before.');
    const hidden = { kind: 'hadamard', size: model.hidden, signs: Int8Array.from(mean.tensor('signs')) } as const;
    const { rewrite, weights } = await rewritten({ hidden, values: 'full', down: true }, plain, model);
    const ids = mean.tensor('ids');
    const run = (of: Weights, hooks: Hooks) =>
      Float64Array.from([0, 12].flatMap((at) => [...llamaLogits(model, of, ids.subarray(at, at + 12), hooks)]));
    const rotated = run(weights, runtimeHooks(rewrite.online));
    expect(worst(rotated, mean.tensor('logits.before'))).toBeLessThan(1e-5);
    expect(worst(mean.tensor('logits.fused'), mean.tensor('logits.before'))).toBeGreaterThan(6);
    // All but what meets the embedding is the same.
    for (const [name, values] of withPrefix(mean, 'rotated.'))
      if (name !== 'model.embed_tokens.weight') expect(worst(weights.get(name)!, values), name).toBeLessThan(1e-5);
  });
});

describe('what cannot be turned', () => {
  it('says why, and leaves the rest as it is', async () => {
    const odd = { ...spec, headDim: 22, intermediate: 44 };
    const gain = async () => new Float32Array(spec.hidden).fill(1);
    const { skipped, online, operations } = await quarot(odd, gain, {
      values: 'perHead',
      down: true,
      queryKey: true,
      hidden: false,
    });
    expect(skipped.map(({ reason }) => reason)).toEqual([
      ...[0, 1].flatMap(() => [
        'the values of a head: there is no Hadamard matrix of size 22',
        'the input of down: there is no Hadamard matrix of size 44',
      ]),
      'queries and keys: there is no Hadamard matrix of size 22',
    ]);
    expect([operations, online]).toEqual([[], []]);
  });

  it('three heads cannot be mixed at run time, but turned one by one', async () => {
    const model = { ...spec, headDim: 16, heads: 3, kvHeads: 1 };
    const gain = async () => new Float32Array(spec.hidden).fill(1);
    const full = await quarot(model, gain, { values: 'full', hidden: false });
    expect(full.skipped[0]!.reason).toBe('mixing heads: there is no Hadamard matrix of size 3');
    const perHead = await quarot(model, gain, { values: 'perHead', hidden: false });
    expect(perHead.skipped).toEqual([]);
  });

  it('a rotation of another width', async () => {
    const gain = async () => new Float32Array(spec.hidden);
    await expect(quarot(spec, gain, { hidden: { kind: 'hadamard', size: 32 } })).rejects.toThrow(RecipeError);
  });
});
