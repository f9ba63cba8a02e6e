/** Scales, smoothed weights and W8A8 as SmoothQuant's smooth.py and fake_quant.py give them. */
import { describe, expect, it } from 'vitest';
import { NumericError } from '../../errors.ts';
import { fakeQuantize } from '../fake.ts';
import type { IntegerScheme } from '../scheme.ts';
import { quantizeMatrix } from '../whole-matrix.ts';
import { type LlamaFacts, llamaSpec, readGolden, withPrefix, worst, worstRelative } from './golden.fixture.node.ts';
import { type Hooks, llamaLogits, product, type Weights } from './llama.fixture.ts';
import { applyOperations, type TensorOperation } from './operations.ts';
import { rewriteWeights } from './rewrite.fixture.ts';
import { columnMax, smoothQuant, smoothScales } from './smoothquant.ts';

/** s = absmax / 127, per row of a weight or per token, in the f32 of torch: weights of f16 origin often lie on ties. */
const w8: IntegerScheme = {
  kind: 'integer',
  bits: 8,
  symmetric: true,
  granularity: 'channel',
  range: 'absmax-narrow',
  scaleType: 'f32',
  arithmetic: { compute: 'f32' },
};
const perTensor: IntegerScheme = { ...w8, granularity: 'tensor' };

describe('mit-han-lab/smoothquant c61476d, ln_fcs', () => {
  const golden = readGolden<{ parameters: { alphas: number[] } }>('smoothquant/ln_fcs');
  const width = 64;
  const absmax = golden.tensor('act_scales');
  const weightMax = columnMax(golden.tensor('W2'), width, columnMax(golden.tensor('W1'), width));

  it('the absmax of the inputs', () => {
    expect([...columnMax(golden.tensor('x'), width)]).toEqual([...absmax]);
  });

  it.each(golden.facts.parameters.alphas)('alpha %d', (alpha) => {
    const by = smoothScales(absmax, weightMax, alpha);
    expect(worstRelative(by, golden.tensor(`a${alpha}.scales`))).toBeLessThan(1e-6);
    const operations: TensorOperation[] = [
      { kind: 'scale', tensor: 'W1', axis: 'columns', by },
      { kind: 'scale', tensor: 'ln_weight', axis: 'rows', by, divide: true },
      { kind: 'scale', tensor: 'ln_bias', axis: 'rows', by, divide: true },
    ];
    for (const name of ['W1', 'ln_weight', 'ln_bias']) {
      const shape = golden.shape(name);
      const smoothed = applyOperations(golden.tensor(name), { name, shape, from: 0, to: shape[0]! }, operations);
      const expected = golden.tensor(`a${alpha}.${name}`);
      const size = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      expect(worst(smoothed, expected) / size, name).toBeLessThan(1e-6);
    }
  });

  const smoothed = golden.tensor('a0.5.W1');
  const x = golden.tensor('x');
  const scales = golden.tensor('a0.5.scales');
  const xs = x.map((v, i) => v / scales[i % width]!);

  it('int8 codes of weights and inputs, and their product', () => {
    const w = quantizeMatrix(smoothed, [80, width], w8);
    const wCodes = Array.from(w.tile.codes, (code) => code - 128);
    expect(wCodes).toEqual([...golden.tensor('a0.5.int8.w_codes')]);
    expect(worstRelative(w.tile.scale!.values, golden.tensor('a0.5.int8.w_scales'))).toBeLessThan(1e-6);
    const inputs = quantizeMatrix(xs, [48, width], w8);
    const xCodes = Array.from(inputs.tile.codes, (code) => code - 128);
    const theirs = golden.tensor('a0.5.int8.x_codes');
    expect(xCodes.filter((code, i) => code !== theirs[i]).length / xCodes.length).toBeLessThanOrEqual(0.0005);
    const sums = product(Float64Array.from(theirs), wCodes, width, 80);
    expect([...sums]).toEqual([...golden.tensor('a0.5.int8.acc')]);
  });

  it.each([
    ['per_channel', 'per_token'],
    ['per_channel', 'per_tensor'],
    ['per_tensor', 'per_token'],
    ['per_tensor', 'per_tensor'],
  ])('W8A8 with weights %s and inputs %s', (weights, inputs) => {
    const w = fakeQuantize(smoothed, [80, width], weights === 'per_channel' ? w8 : perTensor).values;
    const q = fakeQuantize(xs, [48, width], inputs === 'per_token' ? w8 : perTensor).values;
    const bias = golden.tensor('bias1');
    const y = product(Float64Array.from(q), w, width, 80).map((value, i) => value + bias[i % 80]!);
    expect(worst(y, golden.tensor(`a0.5.w_${weights}.x_${inputs}.y`))).toBeLessThan(1e-4);
  });
});

describe('mit-han-lab/smoothquant c61476d, llama', () => {
  const golden = readGolden<{ parameters: LlamaFacts }>('smoothquant/llama');
  const spec = llamaSpec(golden.facts.parameters);
  const before = withPrefix(golden, 'before.');
  const row = (i: number) => golden.tensor('ids').subarray(12 * i, 12 * i + 12);
  const logits = (weights: Weights, hooks: Hooks = {}) =>
    Float64Array.from([4, 5].flatMap((i) => [...llamaLogits(spec, weights, row(i), hooks)]));

  const absmax = new Map<string, Float32Array>();
  for (const i of [0, 1, 2, 3]) {
    llamaLogits(spec, before, row(i), {
      input(linear, x, width) {
        absmax.set(linear, columnMax(Float32Array.from(x), width, absmax.get(linear)));
      },
    });
  }
  const smooth = (alpha: number, folds: 'norms' | 'all' = 'norms') =>
    smoothQuant(
      spec,
      { weight: async (name) => before.get(name)!, statistic: async (linear) => absmax.get(linear)! },
      { alpha, folds },
    );

  it('the absmax of the inputs', () => {
    const expected = withPrefix(golden, 'act_scales.');
    expect(expected.size).toBe(4);
    for (const [linear, values] of expected) expect(worstRelative(absmax.get(linear)!, values), linear).toBeLessThan(1e-5);
  });

  const w8a8 = (weights: Weights) => {
    const rounded = new Map(
      [...weights].map(([name, w]) => {
        const cols = name.includes('down_proj') ? spec.intermediate : spec.hidden;
        return [name, /_proj\.weight$/.test(name) ? fakeQuantize(w, [w.length / cols, cols], w8).values : w] as const;
      }),
    );
    return logits(rounded, {
      input: (_, x, width) => x.set(fakeQuantize(Float32Array.from(x), [x.length / width, width], w8).values),
    });
  };

  it.each([0.5, 0.8])('logits and W8A8 logits at alpha %d', async (alpha) => {
    const rewrite = await smooth(alpha);
    expect(rewrite.skipped.map(({ linears }) => linears.length)).toEqual([1, 1, 1, 1]);
    const weights = rewriteWeights(spec, before, rewrite);
    for (const [name, values] of withPrefix(golden, `smooth_a${alpha}.`))
      expect(worstRelative(weights.get(name)!, values), name).toBeLessThan(1e-5);
    expect(worst(logits(weights), golden.tensor('logits.before'))).toBeLessThan(1e-4);
    expect(worst(logits(weights), golden.tensor(`logits.smooth_a${alpha}`))).toBeLessThan(1e-4);
    expect(worst(w8a8(weights), golden.tensor(`logits.w8a8_a${alpha}`))).toBeLessThan(1e-4);
  });

  it('W8A8 logits of the model as it is', () => {
    expect(worst(w8a8(before), golden.tensor('logits.w8a8_unsmoothed'))).toBeLessThan(1e-4);
  });

  it('also o and down where asked for: the same logits', async () => {
    const rewrite = await smooth(0.5, 'all');
    expect(rewrite.skipped).toEqual([]);
    expect(worst(logits(rewriteWeights(spec, before, rewrite)), golden.tensor('logits.before'))).toBeLessThan(1e-4);
    expect(rewrite.operations.filter(({ tensor }) => tensor.endsWith('v_proj.weight'))).toHaveLength(4);
  });

  it('refuses statistics that are not finite or of another width', async () => {
    const broken = (values: Float32Array) =>
      smoothQuant(spec, { weight: async (name) => before.get(name)!, statistic: async () => values });
    await expect(broken(new Float32Array(32).fill(NaN))).rejects.toThrow(NumericError);
    await expect(broken(new Float32Array(31).fill(1))).rejects.toThrow(NumericError);
  });
});
