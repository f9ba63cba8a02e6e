/** Statistics of a model as it is serve transforms and what follows them, from a file or from one walk. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCheckpoint, readTensor } from '../../checkpoint/index.ts';
import { type Model, open } from '../../format/index.ts';
import { diskStore, MemoryStore } from '../../io/index.ts';
import { inputGroups } from '../../model/index.ts';
import type { StatisticKind, Statistics } from '../../quantize/statistics.ts';
import { type PlanOptions, plan, type RecipeInput } from '../../recipe/index.ts';
import { type CalibrationWindows, calibrationWindows, collectStatistics } from '../calibration/index.ts';
import { placeOf } from '../publish.ts';
import { type RunOptions, run } from '../run.ts';
import { linearNames, openStatistics, type StatisticsFile } from '../statistics/index.ts';
import { createStatistics } from '../statistics/writer.ts';
import { rewriteModel } from './rewrite.ts';

const path = (name: string) => fileURLToPath(new URL(`../../../models/${name}`, import.meta.url));
const [samples, context] = [8, 64];
const folder = mkdtempSync(join(tmpdir(), 'fewbits-rewrite-'));
/** On a disk: workers get a copy of what lies in memory with every tile. */
const place = () => diskStore(mkdtempSync(join(folder, 'run-')));
const kinds: StatisticKind[] = ['hessian', 'absmax', 'absmean', 'meansquare'];

let model: Model;
let windows: CalibrationWindows;
let statistics: StatisticsFile;

async function statisticsOf(from: Model, wanted: readonly StatisticKind[]): Promise<StatisticsFile> {
  const spec = from.spec!;
  const groups = Array.from({ length: spec.layers + 1 }, (_, layer) => inputGroups(spec, layer)).flat();
  const heads = groups.map(({ linears, width }) => ({ linears, width, tokens: samples * context, kinds: wanted }));
  const store = new MemoryStore();
  const writer = await createStatistics(store, 's.safetensors', {
    heads,
    names: linearNames(),
    chunkSize: context,
    datasets: [],
  });
  await collectStatistics(from, windows, {
    kinds: wanted,
    onStatistics: ({ linears }, found: Statistics) => writer.add(linears[0]!, found),
  });
  await writer.finish();
  return openStatistics(await store.open('s.safetensors'), from);
}

beforeAll(async () => {
  model = await open(path('tinystories-3.7m'));
  const text = readFileSync(path('text/tinystories.train.txt'), 'utf8').slice(0, 20_000);
  windows = calibrationWindows(model.spec!, await model.tokenizer(), text, { samples, context });
  statistics = await statisticsOf(model, kinds);
}, 60_000);

afterAll(async () => {
  await model.close();
  rmSync(folder, { recursive: true });
});

const int4 = { kind: 'integer', bits: 4, symmetric: false, granularity: { group: 64 }, range: 'minmax' } as const;
const awq = { kind: 'awq', grid: 3, clip: true } as const;
const smooth = { kind: 'smoothquant', alpha: 0.5 } as const;
const quarot = { kind: 'quarot' } as const;
const gptq = { kind: 'gptq', refine: 0 } as const;
const calibration = { samples, context };
/** One layer is enough: what is not quantized is quick. */
const keep = ['*embed*', 'model.layers.[123].*'];
const recipe = (transforms: NonNullable<RecipeInput['transforms']>, more: Partial<RecipeInput> = {}): RecipeInput => ({
  ...{ version: 1, container: 'fewbits', scheme: int4, transforms, rounding: gptq, calibration, keep },
  ...more,
});

/** Name -> bytes of the output's tensors. */
async function written(
  from: RecipeInput,
  options: PlanOptions = {},
  running: RunOptions = {},
  store = place(),
): Promise<Map<string, Uint8Array>> {
  const planned = await plan(model, from, { output: 'out.safetensors', ...options });
  await run(planned, store, { threads: 2, ...(planned.calibration && { calibration: windows }), ...running });
  const file = await openCheckpoint({ source: await store.open('out.safetensors') });
  const all = new Map<string, Uint8Array>();
  for (const entry of file.tensors.values()) all.set(entry.name, (await readTensor(entry)).bytes);
  await file.close();
  return all;
}

test.each([
  ['awq', [awq]],
  ['smoothquant and awq', [smooth, awq]],
])(
  '%s and GPTQ from a file give the bytes that they give from the text',
  async (_, transforms) => {
    const fromText = await written(recipe(transforms));
    const fromFile = await written(recipe(transforms), { statistics });
    expect(fromFile).toEqual(fromText);
    expect([...fromText.keys()].filter((name) => name.endsWith('.codes') || name.includes('layers.0'))).not.toEqual([]);
  },
  120_000,
);

test('AWQ alone needs no second look, and its statistics from a file give the same bytes', async () => {
  const { rounding: _, ...alone } = recipe([awq]);
  expect((await plan(model, alone)).gathered).toBeUndefined();
  expect(await written(alone, { statistics })).toEqual(await written(alone));
}, 120_000);

test('one walk serves transforms and rounding in parallel order; later orders walk through what is written', async () => {
  const parallel = await plan(model, recipe([awq]));
  expect(parallel.gathered).toEqual({ kinds: ['absmean', 'hessian'], head: false });
  expect(parallel.nodes.map(({ kind }) => kind)).not.toContain('capture');
  const block = await plan(model, recipe([awq], { calibration: { ...calibration, order: 'block' } }));
  expect(block.gathered).toBeUndefined();
  expect(block.nodes.map(({ kind }) => kind)).toContain('capture');
  // QuaRot looks at nothing: one walk is all there is.
  expect((await plan(model, recipe([quarot]))).gathered).toBeUndefined();
});

test('a run that is interrupted after the rewrite goes on to the same bytes', async () => {
  const store = place();
  const controller = new AbortController();
  const onProgress = ({ name }: { name: string }) => {
    if (name.startsWith('solving model.layers.0.mlp')) controller.abort();
  };
  await expect(written(recipe([awq]), {}, { signal: controller.signal, onProgress }, store)).rejects.toThrow();
  expect(await store.stat('out.safetensors.unfinished/gathered.safetensors')).toBeDefined();
  expect(await written(recipe([awq]), {}, {}, store)).toEqual(await written(recipe([awq])));
  expect(await store.list()).toEqual(['out.safetensors', 'out.safetensors.report.json']);
}, 120_000);

test.each([
  ['scales', [{ ...awq, clip: false }]],
  ['rotations and gains', [{ ...quarot, values: 'full', down: true }]],
  ['scales, then rotations', [smooth, quarot]],
] as const)(
  '%s: statistics behind the rewrite are those that the rewritten model shows',
  async (_, transforms) => {
    const planned = await plan(model, recipe([...transforms]), { output: 'out.safetensors', statistics });
    const store = new MemoryStore();
    const done = await rewriteModel(placeOf(planned, store, 'key'), { say: () => {} });
    const shown = await statisticsOf(done.plan.model, ['hessian']);
    const spec = done.plan.model.spec!;
    for (const layer of [0, 3, spec.layers]) {
      for (const { linears } of inputGroups(spec, layer)) {
        const [told, seen] = [await done.plan.inputs!.read(linears[0]!, 'hessian'), await shown.read(linears[0]!, 'hessian')];
        const norm = (x: Float32Array) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));
        expect(norm(told.map((value, i) => value - seen[i]!)) / norm(seen), linears[0]).toBeLessThan(1e-4);
      }
    }
  },
  120_000,
);

test('what a rotation hides is refused with the reason', async () => {
  await expect(plan(model, recipe([quarot, smooth]), { statistics })).rejects.toThrow(
    /quarot mixes the channels of this input: the absmax of what comes of it is not told by that of the channels/,
  );
  const none = await statisticsOf(model, ['meansquare']);
  await expect(plan(model, recipe([awq]), { statistics: none })).rejects.toThrow(/hold no absmean of any input/);
});

test('an importance matrix follows the scales, and is left out where channels are mixed', async () => {
  const name = 'model.layers.1.mlp.down_proj.weight';
  const row = await statistics.read('model.layers.1.mlp.down_proj', 'meansquare');
  const q4: RecipeInput = { version: 1, container: 'gguf', fileType: 'q4_0', transforms: [awq] };
  const importance = new Map([[name, row]]);
  const planned = await plan(model, q4, { statistics, importance, output: 'out.gguf' });
  const scaled = (await rewriteModel(placeOf(planned, new MemoryStore(), 'key'), { say: () => {} })).plan;
  const by = await scaled.inputs!.read('model.layers.1.mlp.down_proj', 'meansquare');
  expect(scaled.importance.get(name)).toEqual(by);
  expect(by).not.toEqual(row);
  const turned = await plan(model, { ...q4, transforms: [quarot] }, { importance, output: 'out.gguf' });
  const after = (await rewriteModel(placeOf(turned, new MemoryStore(), 'key'), { say: () => {} })).plan;
  // The input of down stays as it is unless R4 is asked for.
  expect(after.importance.get(name)).toEqual(row);
  const q = new Map([['model.layers.1.self_attn.q_proj.weight', new Float32Array(256).fill(1)]]);
  const mixed = await plan(model, { ...q4, transforms: [quarot] }, { importance: q, output: 'out.gguf' });
  expect((await rewriteModel(placeOf(mixed, new MemoryStore(), 'key'), { say: () => {} })).plan.importance.size).toBe(0);
}, 60_000);
