/** Function-preserving rewrites on every golden architecture and on the default model: the logits stay, through the graph. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { openCheckpoint, readTensor } from '../checkpoint/index.ts';
import type { JsonObject } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import { loadKernels } from '../kernels/kernels.ts';
import { inputGroups, type ModelSpec, matchTensors, readSpec } from '../model/index.ts';
import { Random } from '../numeric/random.ts';
import {
  awq,
  columnMax,
  hessianOf,
  type ModelRewrite,
  type QuarotOptions,
  quarot,
  rewrittenSpec,
  rewrittenWeights,
  schemeRoundTrip,
  smoothQuant,
} from '../quantize/index.ts';
import { type LlamaFacts, llamaSpec, readGolden, withPrefix } from '../quantize/transform/golden.fixture.node.ts';
import { toF32 } from '../tensor/values.ts';
import { loadLanguageModel } from './language-model.ts';
import { buildModel } from './model.ts';
import { positionFeeds } from './positions.ts';
import { rotateOnline } from './rotate-online.ts';
import { createSession } from './session.ts';
import { keepOutputs, tapInputs } from './taps.ts';

const root = new URL('../../', import.meta.url);
const architectures = readdirSync(new URL('test/golden/architectures/', root)).filter((name) => !name.endsWith('.md'));
const models = ['models/tinystories-3.7m', ...architectures.map((name) => `test/golden/architectures/${name}`)];
const options = { threads: 1 };
const kernels = await loadKernels();
const length = 12;

interface Opened {
  spec: ModelSpec;
  weight: (name: string) => Promise<Float32Array>;
  ids: Int32Array;
  logits: Float32Array;
  /** Largest |logit|. */
  size: number;
}

const opened = new Map<string, Promise<Opened>>();

function open(folder: string): Promise<Opened> {
  const known = opened.get(folder) ?? openModel(folder);
  opened.set(folder, known);
  return known;
}

async function openModel(folder: string): Promise<Opened> {
  const at = new URL(`${folder}/`, root);
  const spec = readSpec(JSON.parse(readFileSync(new URL('config.json', at), 'utf8')) as JsonObject);
  const checkpoint = await openCheckpoint(fileURLToPath(new URL('model.safetensors', at)));
  const { found } = matchTensors(spec, checkpoint.tensors);
  const values = new Map<string, Float32Array>();
  for (const [name, stored] of found) {
    const tensor = await readTensor(checkpoint.tensors.get(stored)!);
    values.set(name, toF32(tensor.type, tensor.bytes));
  }
  const weight = async (name: string) => values.get(name)!;
  const random = new Random(2);
  const ids = Int32Array.from({ length: 2 * length }, () => random.integer(spec.vocab));
  const logits = await logitsOf(spec, weight, ids);
  return { spec, weight, ids, logits, size: logits.reduce((most, x) => Math.max(most, Math.abs(x)), 0) };
}

async function logitsOf(spec: ModelSpec, weight: Opened['weight'], ids: Int32Array, online: ModelRewrite['online'] = []) {
  const model = await loadLanguageModel(spec, weight, { ...options, rotations: online });
  const logits = await model.logits(ids, 2, length);
  await model.close();
  return logits;
}

function difference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((worst, x, i) => Math.max(worst, Number.isNaN(x) ? Number.POSITIVE_INFINITY : Math.abs(x - b[i]!)), 0);
}

async function rewrittenLogits({ spec, weight, ids }: Opened, rewrite: ModelRewrite): Promise<Float32Array> {
  return logitsOf(rewrittenSpec(spec, rewrite), rewrittenWeights(spec, weight, rewrite), ids, rewrite.online);
}

/** Inputs of all linears of the layers, [tokens, in] by linear. */
async function inputsOf({ spec, weight, ids }: Opened): Promise<(linear: string) => { x: Float32Array; width: number }> {
  const groups = Array.from({ length: spec.layers }, (_, layer) => inputGroups(spec, layer)).flat();
  const { graph, taps } = tapInputs(
    buildModel(spec, { outputs: ['logits'] }),
    groups.map(({ linears }) => linears[0]!),
  );
  const session = await createSession(keepOutputs(graph, taps.values()), options);
  const feeds: Parameters<typeof session.run>[0] = {
    ids: { type: 'i64', dims: [2, length], data: BigInt64Array.from(ids, BigInt) },
    ...positionFeeds(spec, 0, length, undefined),
  };
  for (const { name, dims, weight: isWeight } of graph.inputs)
    if (isWeight) feeds[name] = { type: 'f32', dims: dims.map(Number), data: await weight(name) };
  const needed = new Set(keepOutputs(graph, taps.values()).inputs.map(({ name }) => name));
  const outputs = await session.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => needed.has(name))));
  await session.close();
  return (linear) => {
    const group = groups.find(({ linears }) => linears.includes(linear))!;
    return { x: outputs[taps.get(group.linears[0]!)!]!.data as Float32Array, width: group.width };
  };
}

async function statisticsOf(model: Opened) {
  const inputs = await inputsOf(model);
  return async (linear: string, kind: 'absmax' | 'absmean' | 'hessian'): Promise<Float32Array> => {
    const { x, width } = inputs(linear);
    if (kind === 'absmax') return columnMax(x, width);
    if (kind === 'hessian') return hessianOf(x, width);
    const sums = new Float32Array(width);
    x.forEach((v, i) => {
      sums[i % width]! += (Math.abs(v) * width) / x.length;
    });
    return sums;
  };
}

const rotations: Record<string, QuarotOptions> = {
  'R1 with random signs': { seed: 7, values: false },
  'R1 by a random orthogonal matrix': { values: false },
  'R2 in each head': { hidden: false },
  'R2 over all heads': { hidden: false, values: 'full' },
  'R3 of queries and keys': { hidden: false, values: false, queryKey: true },
  'R4 in front of down': { hidden: false, values: false, down: true },
  'all of them': { seed: 1, values: 'full', down: true, queryKey: true },
};

/** Logits of these tiny models reach 0.1 to 40. */
const tolerance = (size: number) => 1e-3 * Math.min(1, size);

describe.each(models)('%s', (folder) => {
  test.each(Object.entries(rotations))('%s', async (name, given) => {
    const model = await open(folder);
    const { spec, weight, logits, size } = model;
    const hidden = name.includes('orthogonal') ? ({ kind: 'orthogonal', size: spec.hidden, seed: 3 } as const) : given.hidden;
    const rewrite = await quarot(spec, weight, { ...given, ...(hidden !== undefined && { hidden }) });
    // Two of the models have three heads.
    const unmixed = given.values === 'full' && spec.heads === 3 ? spec.layers : 0;
    expect(rewrite.skipped.map(({ reason }) => reason)).toEqual(
      Array.from({ length: unmixed }, () => 'mixing heads: there is no Hadamard matrix of size 3'),
    );
    if (name === 'R2 over all heads' && unmixed > 0) return expect([rewrite.operations, rewrite.online]).toEqual([[], []]);
    expect(rewrite.operations.length + rewrite.online.length).toBeGreaterThan(0);
    expect(rewrite.untied !== undefined).toBe(spec.tied && hidden !== false);
    expect(difference(await rewrittenLogits(model, rewrite), logits)).toBeLessThan(tolerance(size));
    // What stays at run time is part of it: without, logits move.
    if (rewrite.online.length > 0 && name !== 'R3 of queries and keys')
      expect(difference(await rewrittenLogits(model, { ...rewrite, online: [] }), logits)).toBeGreaterThan(tolerance(size));
  });

  test('SmoothQuant, AWQ', async () => {
    const model = await open(folder);
    const { spec, weight, logits, size } = model;
    const statistic = await statisticsOf(model);
    for (const folds of ['norms', 'all'] as const) {
      const rewrite = await smoothQuant(spec, { weight, statistic }, { alpha: 0.6, folds });
      expect(difference(await rewrittenLogits(model, rewrite), logits), folds).toBeLessThan(tolerance(size));
    }
    const scheme = {
      kind: 'integer',
      bits: 3,
      symmetric: false,
      granularity: 'channel',
      range: 'minmax',
      scaleType: 'f32',
    } as const;
    for (const scales of ['activations', 'duo'] as const) {
      const clip = spec.hidden < 100;
      const rewrite = await awq(
        spec,
        { weight, statistic },
        { kernels, roundTripOf: () => schemeRoundTrip(scheme), scales, grid: 3, clip },
      );
      expect(rewrite.searches).toHaveLength(4 * spec.layers);
      expect(rewrite.clips).toHaveLength(clip ? 5 * spec.layers : 0);
      expect(difference(await rewrittenLogits(model, rewrite), logits), scales).toBeLessThan(tolerance(size));
      const moved = rewrite.operations.filter((one) => one.kind === 'scale' && one.by.some((x) => Math.abs(x - 1) > 0.01));
      expect(moved.length).toBeGreaterThan(0);
    }
  });
});

describe('spcl/QuaRot 5008669, llama_gqa, through the graph', () => {
  interface Facts {
    parameters: LlamaFacts;
  }
  const golden = readGolden<Facts>('quarot/llama_gqa');
  const spec = llamaSpec(golden.facts.parameters);
  const before = withPrefix(golden, 'before.');
  const weight = async (name: string) => before.get(name)!;
  const ids = Int32Array.from(golden.tensor('ids'));
  const hidden = { kind: 'hadamard', size: spec.hidden, signs: Int8Array.from(golden.tensor('signs')) } as const;

  test('logits before, rotated and with R3', async () => {
    expect(difference(await logitsOf(spec, weight, ids), golden.tensor('logits.before'))).toBeLessThan(1e-4);
    for (const [name, queryKey] of [
      ['rotated', false],
      ['r3', true],
    ] as const) {
      const rewrite = await quarot(spec, weight, { hidden, values: 'full', down: true, queryKey });
      const logits = await logitsOf(rewrittenSpec(spec, rewrite), rewrittenWeights(spec, weight, rewrite), ids, rewrite.online);
      expect(difference(logits, golden.tensor(`logits.${name}`)), name).toBeLessThan(1e-4);
    }
  });
});

describe('the pass', () => {
  test('refuses what the graph does not have', async () => {
    const { spec } = await open(models[1]!);
    const graph = buildModel(spec, { outputs: ['logits'] });
    const rotation = { kind: 'hadamard', size: spec.headDim } as const;
    expect(() => rotateOnline(graph, [{ at: 'input', linear: 'model.layers.9.mlp.down_proj', rotation }])).toThrow(ModelError);
    expect(() => rotateOnline(graph, [{ at: 'queryKey', layer: 9, rotation }])).toThrow(ModelError);
  });

  test('token by token, the cache holds rotated keys and the logits stay', async () => {
    const { spec, weight, ids } = await open(models[0]!);
    const rewrite = await quarot(spec, weight, rotations['all of them']);
    const [plain, turned] = await Promise.all([
      loadLanguageModel(spec, weight, options),
      loadLanguageModel(rewrittenSpec(spec, rewrite), rewrittenWeights(spec, weight, rewrite), {
        ...options,
        rotations: rewrite.online,
      }),
    ]);
    const [a, b] = await Promise.all([plain.decoder(1), turned.decoder(1)]);
    for (let at = 0; at < length; at += 4)
      expect(difference(await a.step(ids.slice(at, at + 4)), await b.step(ids.slice(at, at + 4)))).toBeLessThan(1e-3);
    await Promise.all([plain.close(), turned.close()]);
  });
});
