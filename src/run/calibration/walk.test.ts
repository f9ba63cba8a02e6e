/** The walk against the language model's own hidden states and a slow reference in f64, on the golden models of all architectures. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NumericError } from '../../errors.ts';
import { type Model, open } from '../../format/index.ts';
import { llamaSpec, syntheticModel } from '../../format/synthetic.fixture.ts';
import { loadLanguageModel, type WeightReader } from '../../graph/index.ts';
import { MemoryStore } from '../../io/index.ts';
import type { ModelSpec } from '../../model/index.ts';
import { inputGroups } from '../../model/index.ts';
import { type StatisticKind, type Statistics, statisticKinds } from '../../quantize/statistics.ts';
import { weightReader } from '../weights.ts';
import { layerInputsRef } from './layer-inputs.ref.ts';
import { openWalk, type WalkOptions } from './walk.ts';

const [samples, context] = [3, 8];

interface Case {
  model: Model;
  spec: ModelSpec;
  weights: WeightReader;
  ids: Int32Array;
}

function caseOf(model: Model): Case {
  const spec = model.spec!;
  const ids = Int32Array.from({ length: samples * context }, (_, i) => (i * 7919 + 3) % spec.vocab);
  return { model, spec, weights: weightReader(model), ids };
}

/** All statistics of all inputs. */
async function walked(
  { spec, weights, ids }: Case,
  options: Partial<WalkOptions> = {},
  kinds: readonly StatisticKind[] = statisticKinds,
) {
  const walk = await openWalk(spec, weights, ids, { samples, context, ...options });
  const all = new Map<string, Statistics>();
  try {
    for (let layer = 0; layer <= spec.layers; layer++) {
      expect(walk.layer).toBe(layer);
      const groups = inputGroups(spec, layer);
      const found = await walk.capture(weights, groups, kinds);
      for (const [i, { linears }] of groups.entries()) all.set(linears[0]!, found[i]!);
      if (layer < spec.layers) await walk.advance(weights);
    }
    return all;
  } finally {
    await walk.close();
  }
}

/** Statistics of rows [tokens, in] in f64. */
function statisticsRef(rows: readonly Float64Array[]) {
  const columns = Array.from(rows[0]!, (_, i) => rows.map((row) => row[i]!));
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  return {
    hessian: columns.flatMap((a) => columns.map((b) => mean(a.map((x, t) => x * b[t]!)))),
    absmax: columns.map((a) => Math.max(...a.map(Math.abs))),
    absmean: columns.map((a) => mean(a.map(Math.abs))),
    meansquare: columns.map((a) => mean(a.map((x) => x * x))),
    min: columns.map((a) => Math.min(...a)),
    max: columns.map((a) => Math.max(...a)),
    samples: rows.flatMap((row) => [...row]),
  };
}

function expectClose(values: Float32Array, exact: readonly number[], what: string): void {
  expect(values.length, what).toBe(exact.length);
  const scale = exact.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  const worst = values.reduce((most, value, i) => Math.max(most, Math.abs(value - exact[i]!)), 0);
  // f32 against f64 over sums of 24 tokens and a layer.
  expect(worst / scale, what).toBeLessThan(2e-5);
}

const rowsOf = (values: Float32Array, width: number) =>
  Array.from({ length: values.length / width }, (_, t) => Float64Array.from(values.subarray(t * width, (t + 1) * width)));

describe.each(['llama', 'llama-bias-headdim', 'llama-tied-rope-llama3', 'mistral', 'qwen2', 'qwen2-sliding', 'qwen3'])(
  '%s',
  (name) => {
    const golden = fileURLToPath(new URL(`../../../test/golden/architectures/${name}`, import.meta.url));
    let one: Case;
    beforeAll(async () => {
      one = caseOf(await open(golden));
    });
    afterAll(async () => {
      await one.weights.close?.();
      await one.model.close();
    });

    test('every statistic of every input is that of the reference', async () => {
      const { spec, weights, ids } = one;
      const found = await walked(one);
      const language = await loadLanguageModel(spec, async (tensor) => weights(tensor), { threads: 1 });
      const { states } = await language.hidden(ids, samples, context);
      for (let layer = 0; layer < spec.layers; layer++) {
        const held = new Map<string, Float32Array>();
        for (const { name } of one.model.tensors)
          if (name.startsWith(`model.layers.${layer}.`))
            held.set(name.slice(`model.layers.${layer}.`.length), await weights(name));
        const before = rowsOf(states.get(layer === 0 ? 'embed' : `${layer - 1}`)!, spec.hidden);
        const inputs = new Map<string, Float64Array[]>();
        for (let s = 0; s < samples; s++)
          for (const [linear, rows] of layerInputsRef(
            spec,
            layer,
            (w) => held.get(w),
            before.slice(s * context, (s + 1) * context),
          ))
            inputs.set(linear, [...(inputs.get(linear) ?? []), ...rows]);
        for (const [linear, rows] of inputs) {
          const exact = statisticsRef(rows);
          const statistics = found.get(`model.layers.${layer}.${linear}`)!;
          expect(statistics.tokens).toBe(samples * context);
          for (const kind of statisticKinds) expectClose(statistics[kind]!, exact[kind], `${layer}.${linear}.${kind}`);
        }
      }
      // Every token is a sample here, so that the head's are the final states of the whole model.
      const head = found.get(spec.tied ? 'model.embed_tokens' : 'lm_head')!;
      expectClose(head.samples!, [...states.get('final')!], 'final');
      await language.close();
    });
  },
);

describe('a walk', async () => {
  const one = caseOf(await syntheticModel());
  afterAll(() => one.weights.close?.());
  const usual = await walked(one);

  test('Hessians are symmetric to the bit and hold the mean squares', () => {
    for (const { hessian, meansquare } of usual.values()) {
      const width = meansquare!.length;
      let asymmetric = 0;
      for (let i = 0; i < width; i++)
        for (let j = 0; j < i; j++) if (hessian![i * width + j] !== hessian![j * width + i]) asymmetric++;
      expect(asymmetric).toBe(0);
      expect(meansquare).toEqual(meansquare!.map((_, i) => hessian![i * (width + 1)]!));
    }
  });

  test('mean squares alone are the diagonal within rounding', async () => {
    const alone = await walked(one, {}, ['meansquare']);
    for (const [linear, { meansquare, hessian }] of alone) {
      expect(hessian).toBeUndefined();
      expectClose(meansquare!, [...usual.get(linear)!.meansquare!], linear);
    }
  });

  test('a spill file gives the bits of the buffer, and is gone afterwards', async () => {
    const store = new MemoryStore();
    const folders: string[] = [];
    const spilled = await walked(one, {
      bufferBytes: 1000,
      spill: { store, folder: 'states' },
      onProgress: () => {
        folders.push('seen');
      },
    });
    expect(spilled).toEqual(usual);
    expect(folders.length).toBe(one.spec.layers * 2 + 1);
    expect(await store.list()).toEqual([]);
  });

  test('without a place to spill, too many states are refused', async () => {
    await expect(walked(one, { bufferBytes: 1000 })).rejects.toThrow(/do not fit into memory.*got 24576, limit 1000/);
  });

  test('both at once is one after the other', async () => {
    const { spec, weights, ids } = one;
    const walk = await openWalk(spec, weights, ids, { samples, context });
    for (let layer = 0; layer < spec.layers; layer++) {
      const groups = inputGroups(spec, layer);
      const found = await walk.captureAndAdvance(weights, groups, statisticKinds);
      for (const [i, { linears }] of groups.entries()) expect(found[i]).toEqual(usual.get(linears[0]!));
    }
    await expect(walk.advance(weights)).rejects.toThrow(/ends at the head/);
    await walk.close();
  });

  test('a reader without rows gives the same states', async () => {
    const plain: WeightReader = (name) => one.weights(name);
    expect(await walked({ ...one, weights: plain }, {}, ['samples'])).toEqual(await walked(one, {}, ['samples']));
  });

  test.each([
    ['NaN', Number.NaN],
    ['Inf', Number.POSITIVE_INFINITY],
  ])('%s in activations names layer, linear and count', async (_, bad) => {
    const weights: WeightReader = async (name) => {
      const values = await one.weights(name);
      if (name === 'model.layers.1.post_attention_layernorm.weight') values[5] = bad;
      return values;
    };
    const attempt = walked({ ...one, weights });
    await expect(attempt).rejects.toThrow(NumericError);
    await expect(attempt).rejects.toThrow(/layer 1: model\.layers\.1\.mlp\.gate_proj: 24 of 6144 activations are NaN or Inf/);
  });

  test('groups that do not fit are refused', async () => {
    const { spec, weights, ids } = one;
    const walk = await openWalk(spec, weights, ids, { samples, context });
    const capture = (linears: string[], width = 256) => walk.capture(weights, [{ linears, width }], ['absmax']);
    await expect(capture(['model.layers.1.mlp.down_proj'], 512)).rejects.toThrow(/does not belong to the layer/);
    await expect(capture(['model.layers.0.mlp.down_proj', 'model.layers.0.mlp.up_proj'])).rejects.toThrow(/different inputs/);
    await expect(capture(['model.layers.0.mlp.down_proj'])).rejects.toThrow(/another width.*got 512, limit 256/);
    await walk.close();
    await walk.close();
    await expect(capture(['model.layers.0.mlp.up_proj'])).rejects.toThrow(/after it was closed/);
  });

  test('it can be stopped', async () => {
    await expect(walked(one, { signal: AbortSignal.abort() })).rejects.toThrow(/aborted/);
  });

  test('ids outside the vocabulary are refused', async () => {
    const ids = one.ids.with(4, llamaSpec.vocab);
    await expect(walked({ ...one, ids })).rejects.toThrow(/outside the vocabulary.*got 96/);
  });
});
