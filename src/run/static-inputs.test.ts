/** Static inputs from recipe to file and back: ranges come from calibration, and from nowhere else. */
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { calibrationText, defaultModel, defaultText } from '#run/embedded';
import { NumericError, RecipeError } from '../errors.ts';
import { compare } from '../evaluate/index.ts';
import { open } from '../format/index.ts';
import { randomTensor, syntheticBag } from '../format/synthetic.fixture.ts';
import type { Model } from '../format/types.ts';
import { MemoryStore, read } from '../io/index.ts';
import type { InputScheme } from '../quantize/scheme.ts';
import type { Statistics, StatisticsReader } from '../quantize/statistics.ts';
import { parseRecipe, plan, type RecipeInput } from '../recipe/index.ts';
import { toF32 } from '../tensor/index.ts';
import { collectStatistics } from './calibration/collect.ts';
import { type CalibrationWindows, calibrationWindows } from './calibration/windows.ts';
import { convertRecipe } from './convert.ts';
import { folderOf, goldenBytes, goldenJson, tensorsOf } from './golden.fixture.node.ts';
import { languageModel } from './language.ts';
import type { Report } from './report.ts';
import { run } from './run.ts';
import { verify } from './verify.ts';

const w8 = {
  kind: 'integer',
  bits: 8,
  symmetric: true,
  granularity: 'channel',
  range: 'absmax-half',
  scaleType: 'bf16',
} as const;
const tensor = { bits: 8, symmetric: true, dynamic: false, per: 'tensor' } as const satisfies InputScheme;
type RecipeInputScheme = InputScheme & { float?: 'e4m3' };
const w8a8 = (input: RecipeInputScheme, container: RecipeInput['container'] = 'fewbits'): RecipeInput => ({
  version: 1,
  ...(container && { container }),
  scheme: { ...w8, input },
});

let model: Model;
let windows: CalibrationWindows;
beforeAll(async () => {
  model = await open(defaultModel);
  const text = readFileSync(calibrationText, 'utf8');
  windows = calibrationWindows(model.spec!, await model.tokenizer(), text, { samples: 16, context: 128 });
});

interface Made {
  report: Report;
  store: MemoryStore;
  made: Model;
}

async function written(recipe: RecipeInput, options: { threads?: number; calibration?: CalibrationWindows } = {}): Promise<Made> {
  const store = new MemoryStore();
  const planned = await plan(model, recipe, { output: 'out', calibrationContext: 128 });
  const calibration = planned.calibration && { calibration: options.calibration ?? windows };
  const report = await run(planned, store, { threads: options.threads ?? 1, ...calibration });
  return { report, store, made: await open({ store, name: 'out' }) };
}

const scalesOf = ({ report }: Made) => new Map(report.inputs!.map(({ linear, scale }) => [linear, scale as number]));

describe('golden: llm-compressor 0.14, fp8-static', () => {
  const folder = 'compressed-tensors';
  const info = goldenJson<{ calibration_input_ids: number[][] }>(`${folder}/fp8-static/case.json`);
  const calibration = {
    ids: Int32Array.from(info.calibration_input_ids.flat()),
    samples: info.calibration_input_ids.length,
    context: info.calibration_input_ids[0]!.length,
    warnings: [],
  };

  test('input_scale of its static_minmax observer, within 1e-2', async () => {
    const source = await open({
      store: folderOf({
        'config.json': goldenJson(`${folder}/_input/config.json`),
        'model.safetensors': goldenBytes(`${folder}/_input/model.safetensors`),
      }),
      name: 'model',
    });
    const recipe: RecipeInput = {
      version: 1,
      container: 'fewbits',
      scheme: {
        ...{ kind: 'table', table: 'e4m3', granularity: 'tensor', range: 'absmax', scaleType: 'bf16' },
        input: { ...tensor, float: 'e4m3' },
      },
    };
    const planned = await plan(source, recipe, { output: 'out', calibrationContext: calibration.context });
    const store = new MemoryStore();
    const { inputs } = await run(planned, store, { calibration });
    const theirs = await tensorsOf(goldenBytes(`${folder}/fp8-static/model.safetensors`));
    expect(inputs).toHaveLength(7);
    let worst = 0;
    for (const { linear, scale } of inputs!) {
      const { type, bytes } = theirs.get(`${linear}.input_scale`)!;
      const [expected] = toF32(type, bytes);
      worst = Math.max(worst, Math.abs((scale as number) / expected! - 1));
    }
    // Their activations are bf16.
    expect(worst).toBeLessThan(1e-2);
    expect(worst).toBeGreaterThan(0);
  });

  test('compressed-tensors says it as llm-compressor does', async () => {
    const { store, made, report } = await static8('compressed-tensors');
    const config = JSON.parse(await textIn(store, 'out/config.json')) as GroupConfig;
    const theirs = goldenJson<GroupConfig>(`${folder}/fp8-static/config.json`);
    const group = (one: GroupConfig) => one.quantization_config.config_groups['group_0']!;
    expect(group(config).input_activations).toEqual({ ...group(theirs).input_activations, type: 'int' });
    expect(group(config).format).toBe('int-quantized');
    const heads = made.checkpoint.tensors;
    for (const { linear } of report.inputs!) {
      expect(heads.get(`${linear}.input_scale`)).toMatchObject({ type: 'bf16', shape: [1] });
      expect(heads.has(`${linear}.input_zero_point`)).toBe(false);
    }
  });
});

interface GroupConfig {
  quantization_config: { config_groups: Record<string, { format: string; input_activations: object }> };
}

async function bytesIn(store: MemoryStore, name: string): Promise<Uint8Array> {
  const source = await store.open(name);
  return read(source, 0, source.size);
}
const WEIGHTS = 'out/model.safetensors';
const sameBytes = async (a: MemoryStore, b: MemoryStore) =>
  Buffer.from(await bytesIn(a, WEIGHTS)).equals(await bytesIn(b, WEIGHTS));
const textIn = async (store: MemoryStore, name: string) => new TextDecoder().decode(await bytesIn(store, name));

/** Made once: W8A8 with minmax. */
const held = new Map<string, Promise<Made>>();
function static8(container: NonNullable<RecipeInput['container']>): Promise<Made> {
  const one = held.get(container) ?? written(w8a8(tensor, container));
  held.set(container, one);
  return one;
}

describe('the default model', () => {
  test('KL: static ranges by observers against dynamic ones', { timeout: 200_000 }, async () => {
    const moving = await written(w8a8({ ...tensor, observer: 'moving-average' }));
    const made = [
      await written(w8a8({ ...tensor, dynamic: true, per: 'token' })),
      await static8('fewbits'),
      moving,
      await written(w8a8({ ...tensor, symmetric: false })),
      await written(w8a8({ ...tensor, per: { group: 32 } })),
    ];
    const models = [];
    for (const one of made) models.push(await languageModel(one.made));
    const text = readFileSync(defaultText, 'utf8').slice(0, 12_000);
    const result = await compare(await languageModel(model), models, await model.tokenizer(), text, { context: 256 });
    const [token, minmax, average, asymmetric, group] = result.models.map(({ kl }) => kl.mean) as [
      number,
      number,
      number,
      number,
      number,
    ];
    // One outlier sets the scale of minmax for all tokens; tokens have scales of their own where it is dynamic.
    expect(token).toBeLessThan(0.001);
    expect(token * 4).toBeLessThan(average);
    expect(average).toBeLessThan(0.006);
    expect(average * 1.5).toBeLessThan(minmax);
    expect(minmax).toBeLessThan(0.013);
    expect(asymmetric).toBeLessThan(minmax);
    expect(group).toBeLessThan(average);

    const [wide, narrow] = [scalesOf(made[1]!), scalesOf(moving)];
    expect(wide.size).toBe(28);
    for (const [linear, scale] of narrow) expect(scale, linear).toBeLessThanOrEqual(wide.get(linear)!);
    const down = 'model.layers.0.mlp.down_proj';
    expect([wide.get(down), narrow.get(down)]).toEqual([expect.closeTo(0.29, 3), expect.closeTo(0.238, 3)]);
    expect(made[0]!.report.inputs).toBeUndefined();
  });

  test('linears that read one input have one scale; the plan knows every byte', async () => {
    const { report, store } = await static8('fewbits');
    const scales = scalesOf(await static8('fewbits'));
    const scale = (role: string) => scales.get(`model.layers.1.self_attn.${role}`);
    expect(scale('q_proj')).toBe(scale('k_proj'));
    expect(scale('q_proj')).toBe(scale('v_proj'));
    expect(scale('q_proj')).not.toBe(scale('o_proj'));
    expect(report.calibration).toMatchObject({ samples: 16, context: 128, tokens: 2048 });
    const names = (await store.list('out')).filter((name) => !name.endsWith('report.json'));
    const sizes = await Promise.all(names.map(async (name) => (await store.stat(name))!.size));
    expect(sizes.reduce((a, b) => a + b)).toBe(report.bytes);
  });

  test('what is read back is what was found, and the model verifies', async () => {
    const { made, report } = await static8('fewbits');
    for (const { linear, scale } of report.inputs!) {
      const { input } = made.tensors.find(({ name }) => name === `${linear}.weight`)!;
      expect(input).toEqual({ ...tensor, levels: { scale: [scale] } });
    }
    expect(await verify(made)).toMatchObject({ ok: true, problems: [] });
  });

  test('the same bytes for any number of threads', async () => {
    const recipe = w8a8({ ...tensor, symmetric: false, observer: 'moving-average' }, 'compressed-tensors');
    const [one, two] = [await written(recipe, { threads: 1 }), await written(recipe, { threads: 2 })];
    expect(await sameBytes(one.store, two.store)).toBe(true);
    const { scale, zero, linear } = one.report.inputs![0]!;
    const { input } = one.made.tensors.find(({ name }) => name === `${linear}.weight`)!;
    expect(input).toEqual({ ...tensor, symmetric: false, levels: { scale: [scale], zero: [zero] } });
    expect(zero).not.toBe(0);
  });

  test('the order of windows counts for a moving average, not for the extremes', async () => {
    const { ids, context, samples } = windows;
    const reversed = Int32Array.from(ids, (_, i) => ids[(samples - 1 - Math.floor(i / context)) * context + (i % context)]!);
    const back = { calibration: { ...windows, ids: reversed } };
    const scales = async (input: RecipeInputScheme, options = {}) => [...scalesOf(await written(w8a8(input), options)).values()];
    expect(await scales(tensor, back)).toEqual(await scales(tensor));
    const moving = { ...tensor, observer: 'moving-average' } as const;
    expect(await scales(moving, back)).not.toEqual(await scales(moving));
  });

  test('between fewbits and compressed-tensors levels stay as they are', async () => {
    for (const [from, to] of [
      ['fewbits', 'compressed-tensors'],
      ['compressed-tensors', 'fewbits'],
    ] as const) {
      const { made } = await static8(from);
      const store = new MemoryStore();
      await run(await plan(made, convertRecipe(made, to, { requantize: false }), { output: 'out' }), store);
      const converted = await open({ store, name: 'out' });
      expect(converted.container).toBe(to);
      const inputs = (one: Model) => new Map(one.tensors.flatMap(({ name, input }) => (input ? [[name, input]] : [])));
      expect(inputs(converted).size).toBe(28);
      expect(inputs(converted)).toEqual(inputs(made));
    }
    const { made } = await static8('fewbits');
    const recipe = convertRecipe(made, 'gptq', { requantize: true });
    const { warnings } = await plan(made, recipe, { output: 'out' });
    expect(warnings.join()).toMatch(/28 linears quantize their inputs in the source and no longer do/);
  });

  test('a statistics file gives the scales of minmax, of tensors, channels and groups', async () => {
    const found = new Map<string, Statistics>();
    await collectStatistics(model, windows, {
      kinds: ['min', 'max'],
      onStatistics: async ({ linears }, statistics) => {
        for (const linear of linears) found.set(linear, statistics);
      },
    });
    const statistics: StatisticsReader = {
      name: 'statistics',
      linears: () => [...found.keys()],
      has: (linear, kind) => found.get(linear)?.[kind] !== undefined,
      shape: (linear, kind) => [found.get(linear)![kind]!.length],
      tokens: () => windows.ids.length,
      shared: (linear) => linear,
      read: async (linear, kind) => found.get(linear)![kind]!,
      fingerprint: async () => 'one',
      close: async () => {},
    };
    for (const per of ['tensor', { group: 32 }] as const) {
      const recipe = w8a8({ ...tensor, per });
      const planned = await plan(model, recipe, { output: 'out', statistics });
      expect(planned.calibration).toBeUndefined();
      const { inputs } = await run(planned, new MemoryStore());
      expect(inputs).toEqual((per === 'tensor' ? await static8('fewbits') : await written(recipe)).report.inputs);
    }
    const average = w8a8({ ...tensor, observer: 'moving-average' });
    await expect(plan(model, average, { output: 'out', statistics })).rejects.toThrow(
      /moving-average looks at the inputs themselves/,
    );
  });
});

test('a run that is killed finds the same again', async () => {
  const recipe = w8a8({ ...tensor, observer: 'moving-average' });
  const whole = await written(recipe);
  const planned = await plan(model, recipe, { output: 'out', calibrationContext: 128 });
  const store = new MemoryStore();
  const stop = new AbortController();
  let seen = 0;
  const onProgress = () => {
    if (++seen === 40) stop.abort();
  };
  await expect(run(planned, store, { calibration: windows, signal: stop.signal, onProgress })).rejects.toThrow(/abort/i);
  const report = await run(planned, store, { calibration: windows });
  expect(report.resumed).toBeGreaterThan(0);
  expect(report.inputs).toEqual(whole.report.inputs);
  expect(await sameBytes(store, whole.store)).toBe(true);
});

describe('plans', () => {
  test('list captures of all layers, and the shapes of scales', async () => {
    const made = await plan(model, w8a8({ ...tensor, per: 'channel', symmetric: false }), {
      output: 'out',
      calibrationContext: 128,
    });
    expect(made.nodes.filter(({ kind }) => kind === 'capture')).toHaveLength(model.spec!.layers);
    expect(made.calibration).toMatchObject({ order: 'parallel', context: 128 });
    const down = made.layout.tensors.find(({ source }) => source === 'model.layers.0.mlp.down_proj.weight')!;
    const width = down.from.cols;
    expect(down.input).toMatchObject({ scale: { type: 'f32', bytes: 4 * width }, zero: { type: 'i8', bytes: width } });
    const plain = await plan(model, w8a8({ ...tensor, dynamic: true }), { output: 'out' });
    expect(plain.calibration).toBeUndefined();
  });

  test('without a text there is nothing to find them on', async () => {
    const made = await plan(model, w8a8(tensor), { output: 'out' });
    await expect(run(made, new MemoryStore())).rejects.toThrow(/collects activations, and the run was given no text/);
    const bag = await syntheticBag([['a', randomTensor([8, 32], 1)]]);
    await expect(plan(bag, { ...w8a8(tensor), container: 'fewbits' }, { output: 'out.safetensors' })).rejects.toThrow(
      /min and max of the inputs can only be collected from a model that can be run/,
    );
  });

  test.each<[string, RecipeInputScheme, RegExp]>([
    ['tokens', { ...tensor, per: 'token' }, /a static scheme knows no tokens/],
    ['channels while it runs', { ...tensor, dynamic: true, per: 'channel' }, /have to be known before the model runs/],
    ['an observer of what is dynamic', { ...tensor, dynamic: true, observer: 'minmax' }, /nothing to observe/],
    ['a histogram of each channel', { ...tensor, per: 'channel', observer: 'entropy' }, /watches whole tensors/],
    ['groups that do not fill', { ...tensor, per: { group: 48 } }, /do not fill the input/],
    ['a zero point of a minifloat', { ...tensor, float: 'e4m3', symmetric: false }, /no zero point/],
    ['fewer bins than codes', { ...tensor, observer: 'entropy', observerOptions: { bins: 64 } }, /bins/],
  ])('%s are refused', async (_, input, message) => {
    await expect(plan(model, w8a8(input), { output: 'out' })).rejects.toThrow(message);
  });

  test('what compressed-tensors cannot say is refused', async () => {
    for (const input of [
      { ...tensor, per: 'channel' },
      { ...tensor, bits: 4 },
    ] as const)
      await expect(plan(model, w8a8(input, 'compressed-tensors'), { output: 'out' })).rejects.toThrow(/cannot hold/);
  });

  test('a range is found, not written', () => {
    const recipe = { version: 1, scheme: { ...w8, input: { ...tensor, range: { min: [-1], max: [1] } } } };
    expect(() => parseRecipe(recipe)).toThrow(RecipeError);
  });
});

test('NaN among the activations ends the run with the layer', async () => {
  const reader = new MemoryStore();
  const source = await written({ version: 1, container: 'safetensors', scheme: { kind: 'storage', type: 'f32' } });
  const name = 'out/model.safetensors';
  const bytes = (await bytesIn(source.store, name)).slice();
  const entry = source.made.checkpoint.tensors.get('model.layers.1.input_layernorm.weight')!;
  new DataView(bytes.buffer).setFloat32(entry.offset, Number.NaN, true);
  for (const one of await source.store.list('out')) {
    const content = one === name ? bytes : await bytesIn(source.store, one);
    await reader.append(one, content);
  }
  const broken = await open({ store: reader, name: 'out' });
  const planned = await plan(broken, w8a8({ ...tensor, observer: 'entropy' }), { output: 'q', calibrationContext: 128 });
  await expect(run(planned, new MemoryStore(), { calibration: windows })).rejects.toThrow(NumericError);
});
