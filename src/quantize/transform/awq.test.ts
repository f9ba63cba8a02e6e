/** Losses, scales, clips and codes as llm-awq and AutoAWQ find them; and the loss by Hessian against the loss by samples. */
import { describe, expect, it } from 'vitest';
import { NumericError, RecipeError } from '../../errors.ts';
import { loadKernels } from '../../kernels/kernels.ts';
import type { ModelSpec } from '../../model/types.ts';
import { Random } from '../../numeric/random.ts';
import type { MatrixScheme } from '../scheme.ts';
import { awqLayer } from './awq.ts';
import { searchClip } from './awq-clip.ts';
import { awqScales, searchScale, weightMeans } from './awq-scale.ts';
import { llamaSpec, readGolden, withPrefix, worst, worstRelative } from './golden.fixture.node.ts';
import { attention, llamaLogits, mlp, product, type Weights } from './llama.fixture.ts';
import { applyOperations } from './operations.ts';
import { hessianOf, OutputLoss } from './output-loss.ts';
import { rewriteWeights } from './rewrite.fixture.ts';
import { awqRoundTrip, schemeRoundTrip } from './round-trip.ts';

const kernels = await loadKernels();
const absmeanOf = (x: Float32Array, cols: number) => {
  const sums = new Float64Array(cols);
  x.forEach((v, i) => {
    sums[i % cols]! += Math.abs(v);
  });
  return Float32Array.from(sums, (sum) => (sum * cols) / x.length);
};
const meanSquare = (a: Float64Array, b: Float64Array) => a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0) / a.length;
const equalShare = (a: ArrayLike<number>, b: ArrayLike<number>, tolerance = 1e-5) =>
  Array.from(a).filter((x, i) => Math.abs(x - b[i]!) <= tolerance * Math.abs(b[i]!)).length / a.length;

describe('mit-han-lab/llm-awq d6e797a, a Llama layer in 4 bits, groups of 64', () => {
  interface Facts {
    parameters: { hidden: number; inter: number; heads: number; kv_heads: number; rope_theta: number; rms_norm_eps: number };
    searches: { layers: string[]; best_ratio: number; losses: number[] }[];
  }
  const golden = readGolden<Facts>('awq/mit_llama_layer_w4g64');
  const spec: ModelSpec = llamaSpec({ ...golden.facts.parameters, layers: 1, vocab: 64 });
  const layer = 'model.layers.0.';
  const weights = new Map([...withPrefix(golden, 'layer.')].map(([name, w]) => [layer + name, w]));
  const roundTrip = awqRoundTrip({ bits: 4, group: 64 });
  const inputOf = (name: string) => golden.tensor(`input.${name}`);
  const source = {
    self_attn: 'self_attn.q_proj',
    'self_attn.o_proj': 'self_attn.o_proj',
    mlp: 'mlp.gate_proj',
    'mlp.down_proj': 'mlp.down_proj',
  };

  /** What the original looks at: attention of four sequences, the MLP, or one linear, for the linears with these weights. */
  function outputs(inspected: keyof typeof source, changed: Weights): Float64Array {
    const x = Float64Array.from(inputOf(source[inspected]));
    if (inspected === 'self_attn')
      return Float64Array.from(
        [0, 1, 2, 3].flatMap((b) => [...attention(spec, changed, 0, x.subarray(b * 128 * 64, (b + 1) * 128 * 64))]),
      );
    if (inspected === 'mlp') return mlp(spec, changed, `${layer}mlp.`, x);
    return product(x, changed.get(`${layer}${inspected}.weight`)!, x.length / 512, 64);
  }

  it.each([
    [0, 'self_attn'],
    [1, 'self_attn.o_proj'],
    [2, 'mlp'],
    [3, 'mlp.down_proj'],
  ] as const)(
    'search %i: losses of %s, ratio and scales',
    async (index, inspected) => {
      const expected = golden.facts.searches[index]!;
      const names = expected.layers.map((name) => `${layer}${name}.weight`);
      const x = inputOf(expected.layers[0]!);
      const cols = x.length / 512;
      expect(worstRelative(absmeanOf(x, cols), golden.tensor(`x_mean.${expected.layers[0]}`))).toBeLessThan(1e-5);
      const exact = outputs(inspected, weights);
      const search = {
        weights: names.map((name) => weights.get(name)!),
        cols,
        absmean: absmeanOf(x, cols),
        roundTrips: names.map(() => roundTrip),
      };
      const found = await searchScale({
        ...search,
        loss: (candidates) =>
          meanSquare(outputs(inspected, new Map([...weights, ...names.map((n, i) => [n, candidates[i]!] as const)])), exact),
      });
      expect(worstRelative(found.losses, expected.losses)).toBeLessThan(1e-4);
      expect(found.ratio).toBe(expected.best_ratio);
      expect(worstRelative(found.scales, golden.tensor(`scale.${expected.layers[0]}`))).toBeLessThan(1e-5);

      if (names.length > 1) return;
      // One linear: the Hessian gives the same losses.
      const output = new OutputLoss(kernels, hessianOf(x, cols), cols);
      const byHessian = await searchScale({
        ...search,
        loss: ([candidate]) => output.total(candidate!.map((q, i) => search.weights[0]![i]! - q)) / 64,
      });
      expect(worstRelative(byHessian.losses, expected.losses)).toBeLessThan(1e-4);
      expect(byHessian.ratio).toBe(expected.best_ratio);
    },
    60_000,
  );

  it('clips and codes after these scales', () => {
    const inputs: Record<string, string> = {
      v: 'self_attn.q_proj',
      o: 'self_attn.o_proj',
      gate: 'mlp.gate_proj',
      up: 'mlp.gate_proj',
      down: 'mlp.down_proj',
    };
    const rows = { v: 'self_attn.o_proj', up: 'mlp.down_proj' } as Record<string, string>;
    for (const role of ['q', 'k', 'v', 'o', 'gate', 'up', 'down']) {
      const name = `${'qkvo'.includes(role) ? 'self_attn' : 'mlp'}.${role}_proj`;
      const shape = golden.shape(`layer.${name}.weight`);
      const from = inputs[role] ?? 'self_attn.q_proj';
      const by = golden.tensor(`scale.${from}`);
      const span = { name, shape, from: 0, to: shape[0]! };
      const weight = applyOperations(golden.tensor(`layer.${name}.weight`), span, [
        { kind: 'scale', tensor: name, axis: 'columns', by },
        ...(rows[role]
          ? [{ kind: 'scale', tensor: name, axis: 'rows', by: golden.tensor(`scale.${rows[role]}`), divide: true } as const]
          : []),
      ]);
      if (inputs[role]) {
        const cols = shape[1]!;
        const x = inputOf(from).map((v, i) => v / by[i % cols]!);
        const { limits, losses } = searchClip({ weight, loss: new OutputLoss(kernels, hessianOf(x, cols), cols, 64), roundTrip });
        expect(equalShare(limits, golden.tensor(`clip.${name}`)), name).toBeGreaterThanOrEqual(0.97);
        if (golden.names.includes(`clip_err.${name}`))
          expect(worstRelative(losses, golden.tensor(`clip_err.${name}`)), name).toBeLessThan(1e-3);
        applyOperations(weight, span, [{ kind: 'clip', tensor: name, group: 64, limits: golden.tensor(`clip.${name}`) }]);
      }
      roundTrip(weight, shape[1]!);
      const [scale, zero, codes] = ['scale', 'zero', 'codes'].map((what) => golden.tensor(`final_${what}.${name}`));
      const group = (i: number) => Math.floor(i / 64);
      const final = codes!.map((code, i) => (code - zero![group(i)]!) * scale![group(i)]!);
      expect(
        equalShare(
          weight.map((x, i) => x + 100 * scale![group(i)]!),
          final.map((x, i) => x + 100 * scale![group(i)]!),
        ),
        name,
      ).toBeGreaterThanOrEqual(0.99);
    }
  });

  it('the rewrite of the layer, by the linears’ own outputs: norms and weights follow from the scales, and the logits stay', async () => {
    const names = ['self_attn.q_proj', 'self_attn.o_proj', 'mlp.gate_proj', 'mlp.down_proj'];
    const statistic = async (linear: string, kind: 'absmean' | 'hessian') => {
      const x = inputOf(names.find((name) => linear.endsWith(name))!);
      return kind === 'absmean' ? absmeanOf(x, x.length / 512) : hessianOf(x, x.length / 512);
    };
    const weight = async (name: string) => weights.get(name)!;
    const rewrite = await awqLayer(spec, 0, { weight, statistic }, { kernels, roundTripOf: () => roundTrip });
    expect(rewrite.searches.map(({ linears }) => linears.length)).toEqual([3, 1, 2, 1]);
    // o and down are looked at alone in the original too.
    expect(rewrite.searches.map(({ ratio }) => ratio).filter((_, i) => i % 2 === 1)).toEqual([0.5, 0.45]);
    for (const { before, after } of rewrite.searches) expect(after).toBeLessThan(0.8 * before);
    expect(rewrite.clips.map(({ tensor }) => tensor.split('.').at(-2))).toEqual([
      'v_proj',
      'o_proj',
      'gate_proj',
      'up_proj',
      'down_proj',
    ]);
    const random = new Random(3);
    const whole: Weights = new Map([
      ...weights,
      ...['model.embed_tokens.weight', 'lm_head.weight'].map(
        (n) => [n, Float32Array.from({ length: 64 * 64 }, () => random.gaussian())] as const,
      ),
      ['model.norm.weight', new Float32Array(64).fill(1)] as const,
    ]);
    const scaled = rewriteWeights(spec, whole, { ...rewrite, clips: [] });
    const ids = Array.from({ length: 16 }, () => random.integer(64));
    const logits = llamaLogits(spec, whole, ids);
    const size = logits.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    expect(worst(llamaLogits(spec, scaled, ids), logits) / size).toBeLessThan(1e-6);
    expect(
      worst(scaled.get('model.layers.0.mlp.up_proj.weight')!, weights.get('model.layers.0.mlp.up_proj.weight')!),
    ).toBeGreaterThan(0.01);
  });

  it('norms as the original leaves them', () => {
    for (const [norm, linear] of [
      ['input_layernorm', 'self_attn.q_proj'],
      ['post_attention_layernorm', 'mlp.gate_proj'],
    ]) {
      const by = golden.tensor(`scale.${linear}`);
      const span = { name: 'n', shape: [64], from: 0, to: 64 };
      const gain = applyOperations(golden.tensor(`layer.${norm}.weight`), span, [
        { kind: 'scale', tensor: 'n', axis: 'rows', by, divide: true },
      ]);
      expect(worstRelative(gain, golden.tensor(`scaled_norm.${norm}`))).toBeLessThan(1e-6);
    }
  });
});

describe('casper-hansen/AutoAWQ 88e4c76 (= 0.2.9), an MLP', () => {
  interface Search {
    best_ratio: number;
    losses: number[];
  }
  interface Facts {
    cases: {
      case: string;
      w_bit: number;
      group_size: number;
      zero_point: boolean;
      duo: boolean;
      mlp: Search;
      linear_gate_alone: Search;
    }[];
  }
  const golden = readGolden<Facts>('awq/autoawq_mlp');
  const [gate, up, down, x] = ['gate', 'up', 'down', 'x'].map((name) => golden.tensor(name)) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const cols = 64;
  const absmean = absmeanOf(x, cols);
  const exact = inner(gate, up);

  function inner(g: Float32Array, u: Float32Array): Float64Array {
    const xs = Float64Array.from(x);
    const gated = product(xs, g, cols, 128);
    const upper = product(xs, u, cols, 128);
    return product(
      gated.map((v, i) => (v / (1 + Math.exp(-v))) * upper[i]!),
      down,
      128,
      64,
    );
  }

  it.each(golden.facts.cases)('$case', async (c) => {
    const roundTrip = awqRoundTrip({ bits: c.w_bit, group: c.group_size, zeroPoint: c.zero_point });
    const means = weightMeans([gate, up], cols, c.group_size);
    expect(worstRelative(absmean, golden.tensor(`${c.case}.mlp.x_mean`))).toBeLessThan(1e-5);
    if (c.duo) expect(worstRelative(means, golden.tensor(`${c.case}.mlp.w_mean`))).toBeLessThan(1e-5);
    const both = await searchScale({
      weights: [gate, up],
      cols,
      absmean,
      ...(c.duo && { weightMean: means }),
      roundTrips: [roundTrip, roundTrip],
      loss: ([g, u]) => meanSquare(inner(g!, u!), exact),
    });
    expect(worstRelative(both.losses, c.mlp.losses)).toBeLessThan(1e-4);
    expect(both.ratio).toBe(c.mlp.best_ratio);
    expect(worstRelative(both.scales, golden.tensor(`${c.case}.mlp.scale`))).toBeLessThan(1e-5);

    const output = new OutputLoss(kernels, hessianOf(x, cols), cols);
    const alone = await searchScale({
      weights: [gate],
      cols,
      absmean,
      ...(c.duo && { weightMean: weightMeans([gate], cols, c.group_size) }),
      roundTrips: [roundTrip],
      loss: ([g]) => output.total(g!.map((q, i) => gate[i]! - q)) / 128,
    });
    expect(worstRelative(alone.losses, c.linear_gate_alone.losses)).toBeLessThan(1e-4);
    expect(alone.ratio).toBe(c.linear_gate_alone.best_ratio);
    expect(worstRelative(alone.scales, golden.tensor(`${c.case}.linear.scale`))).toBeLessThan(1e-5);

    const by = golden.tensor(`${c.case}.linear.scale`);
    const weight = gate.map((w, i) => w * by[i % cols]!);
    const loss = new OutputLoss(
      kernels,
      hessianOf(
        x.map((v, i) => v / by[i % cols]!),
        cols,
      ),
      cols,
      c.group_size,
    );
    const { limits } = searchClip({ weight, loss, roundTrip });
    const theirs = golden.tensor(`${c.case}.linear.clip`);
    expect(equalShare(limits, theirs)).toBeGreaterThanOrEqual(0.97);
    const span = { name: 'gate', shape: [128, cols], from: 0, to: 128 };
    applyOperations(weight, span, [{ kind: 'clip', tensor: 'gate', group: c.group_size, limits: theirs }]);
    roundTrip(weight, cols);
    expect(worst(weight, golden.tensor(`${c.case}.linear.final_w`))).toBeLessThan(1e-6);
  });
});

describe('the loss by Hessian', () => {
  const random = new Random(11);
  it.each([
    [96, 96],
    [256, 256],
    [256, 32],
    [320, 64],
    [384, 192],
    [300, 300],
    [7, 7],
  ])('of %i columns in groups of %i is the mean square over the samples', (cols, group) => {
    const [tokens, rows] = [64, 300];
    const x = Float32Array.from({ length: tokens * cols }, (_, i) => random.gaussian() * (1 + (i % 7)) + 0.5);
    const error = Float32Array.from({ length: rows * cols }, () => 0.1 * random.gaussian());
    const losses = new OutputLoss(kernels, hessianOf(x, cols), cols, group).of(error);
    const slow = Array.from(losses, (_, at) => {
      const [row, g] = [Math.floor((at * group) / cols), at % (cols / group)];
      let sum = 0;
      for (let t = 0; t < tokens; t++) {
        let y = 0;
        for (let c = g * group; c < (g + 1) * group; c++) y += x[t * cols + c]! * error[row * cols + c]!;
        sum += y * y;
      }
      return sum / tokens;
    });
    const size = slow.reduce((sum, loss) => sum + loss, 0) / slow.length;
    expect(worst(losses, slow) / size).toBeLessThan(1e-5);
  });

  it('leaves the arena as it was, and refuses what does not fit', () => {
    const mark = kernels.mark();
    new OutputLoss(kernels, new Float32Array(64), 8).of(new Float32Array(80));
    expect(kernels.mark()).toBe(mark);
    expect(() => new OutputLoss(kernels, new Float32Array(63), 8)).toThrow(RecipeError);
    expect(() => new OutputLoss(kernels, new Float32Array(64), 8, 3)).toThrow(RecipeError);
  });
});

describe('scales', () => {
  it('of dead channels and of no input at all are finite', () => {
    for (const ratio of [0, 0.3, 0.95]) {
      expect(awqScales(Float32Array.of(0, 1, 4), ratio).every((s) => Number.isFinite(s) && s > 0)).toBe(true);
      expect([...awqScales(new Float32Array(3), ratio)]).toEqual([1, 1, 1]);
    }
  });

  const spec: ModelSpec = {
    ...llamaSpec({ hidden: 64, inter: 96, heads: 4, kv_heads: 2, layers: 1, vocab: 8, rope_theta: 1e4, rms_norm_eps: 1e-5 }),
  };
  const random = new Random(5);
  const made = new Map<string, Float32Array>();
  const weight = async (name: string) => {
    const size = { k: 32, v: 32, gate: 96, up: 96 }[/(\w+)_proj/.exec(name)![1]!] ?? 64;
    const w = made.get(name) ?? Float32Array.from({ length: size * (name.includes('down') ? 96 : 64) }, () => random.gaussian());
    made.set(name, w);
    return w;
  };
  const samples = (width: number) =>
    Float32Array.from({ length: 128 * width }, (_, i) => random.gaussian() * (i % 5 === 0 ? 8 : 1));
  const cached = new Map([64, 96].map((width) => [width, samples(width)]));
  const statistic = async (linear: string, kind: 'absmean' | 'hessian') => {
    const width = linear.includes('down') ? 96 : 64;
    return kind === 'hessian' ? hessianOf(cached.get(width)!, width) : absmeanOf(cached.get(width)!, width);
  };
  const scheme: MatrixScheme = {
    kind: 'integer',
    bits: 3,
    symmetric: false,
    granularity: { group: 32 },
    range: 'minmax',
    scaleType: 'f16',
  };
  const roundTrip = schemeRoundTrip(scheme);

  it.each(['activations', 'duo'] as const)('by %s: o of shared value heads gets shared scales', async (scales) => {
    const rewrite = await awqLayer(
      spec,
      0,
      { weight, statistic },
      { kernels, roundTripOf: () => roundTrip, scales, clip: false },
    );
    expect(rewrite.skipped).toEqual([]);
    expect(rewrite.clips).toEqual([]);
    const of = (tensor: string, axis: string) =>
      rewrite.operations.find((one) => one.kind === 'scale' && one.tensor.endsWith(tensor) && one.axis === axis) as {
        by: Float32Array;
      };
    const [rows, columns] = [of('v_proj.weight', 'rows').by, of('o_proj.weight', 'columns').by];
    expect([rows.length, columns.length]).toEqual([32, 64]);
    for (let head = 0; head < 4; head++)
      expect(columns.subarray(16 * head, 16 * head + 16)).toEqual(rows.subarray(16 * (head >> 1), 16 * (head >> 1) + 16));
    for (const { before, after } of rewrite.searches)
      expect(after).toBeLessThan(scales === 'duo' ? 1.05 * before : 1.0001 * before);
  });

  it('or o is skipped, and the reason is given', async () => {
    const { skipped, searches } = await awqLayer(
      spec,
      0,
      { weight, statistic },
      { kernels, roundTripOf: () => roundTrip, sharedHeads: 'skip', clip: false },
    );
    expect(skipped).toEqual([
      {
        linears: ['model.layers.0.self_attn.o_proj.weight'],
        reason: '4 query heads share 2 value heads: rows of v are not columns of o one by one',
      },
    ]);
    expect(searches).toHaveLength(3);
  });

  it('what no quantized linear reads is left alone; each weight is tried as it will be rounded', async () => {
    const eight = schemeRoundTrip({ ...scheme, bits: 8 });
    const mixed = (name: string) => (/gate_proj|down_proj/.test(name) ? undefined : name.includes('q_proj') ? eight : roundTrip);
    const options = { kernels, scales: 'activations' } as const;
    const some = await awqLayer(spec, 0, { weight, statistic }, { ...options, roundTripOf: mixed });
    expect(some.skipped).toEqual([
      { linears: ['model.layers.0.mlp.down_proj.weight'], reason: 'none of the linears that read it is quantized' },
    ]);
    expect(some.clips.map(({ tensor }) => tensor.split('.').at(-2)).sort()).toEqual(['o_proj', 'up_proj', 'v_proj']);
    const all = await awqLayer(spec, 0, { weight, statistic }, { ...options, roundTripOf: () => roundTrip });
    const loss = ({ searches }: typeof all, of: string) => searches.find(({ linears }) => linears[0]!.includes(of))!.before;
    // q at 8 bits loses next to nothing of what q, k and v lose at 3; gate nothing of what gate and up do.
    expect(loss(some, 'q_proj')).toBeLessThan(0.7 * loss(all, 'q_proj'));
    expect(loss(some, 'gate_proj')).toBeLessThan(0.7 * loss(all, 'gate_proj'));
    expect(loss(some, 'o_proj')).toBe(loss(all, 'o_proj'));
  });

  it('clips lower the error of every group', async () => {
    const weights = await weight('model.layers.0.mlp.down_proj.weight');
    const loss = new OutputLoss(kernels, await statistic('down', 'hessian'), 96, 32);
    const { limits, losses } = searchClip({ weight: weights, loss, roundTrip });
    const plain = weights.slice();
    roundTrip(plain, 96);
    const before = loss.of(plain.map((q, i) => weights[i]! - q));
    expect(losses.every((one, g) => one <= before[g]!)).toBe(true);
    expect(losses.reduce((a, b) => a + b)).toBeLessThan(0.95 * before.reduce((a, b) => a + b));
    expect(limits.length).toBe(64 * 3);
  });

  it('refuses statistics with NaN or of another width', async () => {
    const broken = (values: Float32Array) =>
      awqLayer(spec, 0, { weight, statistic: async () => values }, { kernels, roundTripOf: () => roundTrip });
    await expect(broken(new Float32Array(64).fill(NaN))).rejects.toThrow(NumericError);
    await expect(broken(new Float32Array(9))).rejects.toThrow(RecipeError);
  });
});
