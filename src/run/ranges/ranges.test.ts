/** The range cross-entropy: what the search chooses, that it is the same again, and what it gives. */
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { calibrationText, defaultModel, defaultText } from '#run/embedded';
import { compare } from '../../evaluate/index.ts';
import { open } from '../../format/index.ts';
import { randomTensor, syntheticBag } from '../../format/synthetic.fixture.ts';
import type { Model } from '../../format/types.ts';
import { MemoryStore, read } from '../../io/index.ts';
import { loadKernels } from '../../kernels/kernels.ts';
import type { IntegerScheme, RangeName } from '../../quantize/scheme.ts';
import { plan, type RecipeInput } from '../../recipe/index.ts';
import { type CalibrationWindows, calibrationWindows } from '../calibration/windows.ts';
import { languageModel } from '../language.ts';
import { run } from '../run.ts';
import { changeOf } from '../sensitivity/measure.ts';
import { Trial } from '../sensitivity/trial.ts';
import { weightReader } from '../weights.ts';
import { LayerStack } from './layer-stack.ts';
import { withFactor } from './search.ts';

const int3 = {
  kind: 'integer',
  bits: 3,
  symmetric: true,
  granularity: { group: 64 },
  range: 'cross-entropy',
  rangeOptions: { base: 'absmax-half' },
  scaleType: 'f16',
} as const satisfies IntegerScheme;

const recipe = (range: Exclude<RangeName, 'absmax'> = 'cross-entropy', rest: Partial<RecipeInput> = {}): RecipeInput => ({
  version: 1,
  container: 'fewbits',
  // Formulas have no base; searches take that of the others here.
  scheme: { ...int3, range, ...(range.startsWith('absmax') && { rangeOptions: {} }) },
  ...rest,
});
/** One matrix of the first layer: a search of a moment. */
const one = { keep: ['*mlp*', '*q_proj*', '*v_proj*', '*o_proj*'], layers: [0, 0] } satisfies Partial<RecipeInput>;
const KEY = 'model.layers.0.self_attn.k_proj.weight';

let model: Model;
let windows: (samples: number, context: number) => Promise<CalibrationWindows>;
beforeAll(async () => {
  model = await open(defaultModel);
  const text = readFileSync(calibrationText, 'utf8').slice(0, 60_000);
  windows = async (samples, context) => calibrationWindows(model.spec!, await model.tokenizer(), text, { samples, context });
});

async function written(request: RecipeInput, calibration: CalibrationWindows, threads = 1) {
  const store = new MemoryStore();
  const planned = await plan(model, request, { output: 'out', calibrationContext: calibration.context });
  const report = await run(planned, store, { threads, ...(planned.calibration && { calibration }) });
  const source = await store.open('out/model.safetensors');
  return { report, store, bytes: Buffer.from(await read(source, 0, source.size)) };
}

test('the stack of layers computes what the whole model does', async () => {
  const calibration = await windows(2, 64);
  const stack = await LayerStack.open(model.spec!, weightReader(model), calibration);
  const whole = await (await languageModel(model)).logits(calibration.ids, 2, 64);
  let states = stack.embed();
  for (let layer = 0; layer <= model.spec!.layers; layer++) {
    const logits = await stack.logits(layer, states, 1);
    const expected = whole.subarray(whole.length / 2);
    expect(logits.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0)).toBeLessThan(1e-4);
    if (layer < model.spec!.layers) states = await stack.through(layer, states);
  }
  await stack.close();
});

test('of one matrix: the losses are those of the model with that matrix exchanged', async () => {
  const calibration = await windows(4, 64);
  const { report } = await written(recipe('cross-entropy', one), calibration);
  const [found, ...others] = report.ranges!;
  expect(others).toEqual([]);
  expect(found!.tensor).toBe(KEY);
  const trial = await Trial.open(model);
  const kernels = await loadKernels();
  const tensors = model.tensors.filter(({ name }) => name === KEY);
  const changes = [1, found!.factor].map((factor) => changeOf(kernels, tensors, withFactor(int3, factor)));
  const [start, chosen] = (await trial.divergences(calibration.ids, calibration.context, changes)).map(({ kl }) => kl);
  await trial.close();
  expect(found!.loss[0]).toBeCloseTo(start!, 6);
  expect(found!.loss[1]).toBeCloseTo(chosen!, 6);
  expect(found!.factor).not.toBe(1);
  expect(chosen!).toBeLessThan(start!);
});

test('the same bytes for any number of threads, and where a run is continued', async () => {
  const calibration = await windows(2, 64);
  const [first, second] = [
    await written(recipe('cross-entropy', one), calibration, 1),
    await written(recipe('cross-entropy', one), calibration, 2),
  ];
  expect(first.bytes.equals(second.bytes)).toBe(true);
  expect(first.report.ranges).toEqual(second.report.ranges);
  const planned = await plan(model, recipe('cross-entropy', one), { output: 'out', calibrationContext: 64 });
  const store = new MemoryStore();
  const stop = new AbortController();
  // All tensors follow the search.
  const onProgress = ({ tensors }: { tensors: number }) => {
    if (tensors > 0) stop.abort();
  };
  await run(planned, store, { calibration, signal: stop.signal, onProgress }).then(
    () => expect.fail('the run was not stopped'),
    () => undefined,
  );
  const journal = await store.open('out.unfinished/journal.jsonl');
  expect(new TextDecoder().decode(await read(journal, 0, journal.size))).toMatch(
    /"ranges":\[\{"tensor":"model.layers.0.self_attn.k_proj/,
  );
  const report = await run(planned, store, { calibration });
  expect(report.ranges).toEqual(first.report.ranges);
  const source = await store.open('out/model.safetensors');
  expect(first.bytes.equals(await read(source, 0, source.size))).toBe(true);
});

describe('plans', () => {
  test('the search comes first, and what is written waits for it', async () => {
    const { nodes, calibration, peakMemory } = await plan(model, recipe(), { output: 'out', calibrationContext: 128 });
    expect(nodes[0]).toMatchObject({ kind: 'ranges', tensors: { length: 28 } });
    const waiting = nodes.filter(({ kind, after }) => kind === 'write' && after.includes(nodes[0]!.id));
    expect(waiting).toHaveLength(28);
    expect(calibration).toMatchObject({ context: 128, layers: model.spec!.layers });
    expect(peakMemory).toBeGreaterThan((await plan(model, recipe('mse'), { output: 'out' })).peakMemory);
  });

  test('what cannot be run, is rounded with feedback, or has statistics only, is refused', async () => {
    const bag = await syntheticBag([['a', randomTensor([8, 64], 1)]]);
    await expect(plan(bag, recipe(), { output: 'out.safetensors' })).rejects.toThrow(
      /chosen by the loss of a model that can be run/,
    );
    const rounding = { kind: 'gptq' } as const;
    await expect(plan(model, recipe('cross-entropy', { rounding }), { output: 'out' })).rejects.toThrow(/feedback makes others/);
    const made = await plan(model, recipe(), { output: 'out' });
    await expect(run(made, new MemoryStore())).rejects.toThrow(/needs a text/);
  });
});

test('default model, 3 bits: less KL than mse and absmax on text that the search has not seen', {
  timeout: 300_000,
}, async () => {
  const calibration = await windows(8, 256);
  const models = [];
  const ranges = ['absmax-half', 'mse', 'cross-entropy'] as const;
  for (const range of ranges) {
    const { report, store } = await written(recipe(range), calibration);
    if (range === 'cross-entropy') {
      const all = report.ranges!;
      expect(all).toHaveLength(28);
      for (const { loss } of all) expect(loss[1]).toBeLessThanOrEqual(loss[0]);
      expect(all.filter(({ factor }) => factor !== 1).length).toBeGreaterThan(5);
    }
    models.push(await languageModel(await open({ store, name: 'out' })));
  }
  const text = readFileSync(defaultText, 'utf8').slice(0, 20_000);
  const result = await compare(await languageModel(model), models, await model.tokenizer(), text, { context: 256 });
  const [absmax, mse, chosen] = result.models.map(({ kl }) => kl.mean) as [number, number, number];
  expect(mse).toBeLessThan(absmax);
  // 0.970 on 30,000 characters.
  expect(chosen).toBeLessThan(0.985 * mse);
});
