/** Graph building, encoding, sessions, and the edges of a language model, on a model small enough to check by hand. */
import { env } from 'node:process';
import { fromBinary } from '@bufbuild/protobuf';
import { afterAll, describe, expect, test } from 'vitest';
import { loadRuntime } from '#graph/runtime';
import { ModelError } from '../errors.ts';
import { modelTensors } from '../model/index.ts';
import type { ModelSpec } from '../model/types.ts';
import { GraphBuilder } from './builder.ts';
import { encodeGraph } from './encode.ts';
import { bytesOf, type Graph } from './ir.ts';
import { loadLanguageModel } from './language-model.ts';
import { buildLayer, buildModel, layerPrefix } from './model.ts';
import { ModelProtoSchema } from './onnx/onnx_pb.ts';
import type { Backend } from './onnx-runtime.ts';
import { bindWeights } from './passes.ts';
import { positionFeeds } from './positions.ts';
import { createSession } from './session.ts';
import type { GraphTensor, WeightReader } from './types.ts';

const spec: ModelSpec = {
  architecture: 'mistral',
  hidden: 8,
  intermediate: 12,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  vocab: 10,
  context: 64,
  normEpsilon: 1e-6,
  rope: { dims: 4, base: 10000, scaling: { kind: 'none' } },
  tied: true,
  bias: { q: false, k: false, v: false, o: false, gate: false, up: false, down: false },
  qkNorm: false,
  window: [undefined, 3],
};

/** Weights in [-0.5, 0.5] that depend on the name alone. */
function weightsOf(spec: ModelSpec): WeightReader {
  const shapes = new Map(modelTensors(spec).map(({ name, shape }) => [name, shape]));
  return async (name) => {
    const seed = [...name].reduce((sum, c) => sum + c.charCodeAt(0), 0);
    const length = shapes.get(name)!.reduce((n, d) => n * d, 1);
    return Float32Array.from({ length }, (_, i) => ((seed + i * 37) % 101) / 101 - 0.5);
  };
}
const weights = weightsOf(spec);

/** y = x + 1 and a constant of `size` values that is added too. */
function plus(size: number): Graph {
  const b = new GraphBuilder('plus');
  const x = b.input('x', 'f32', ['n', size]);
  const c = b.constant('c', { type: 'f32', dims: [size], bytes: bytesOf(new Float32Array(size).fill(2)) });
  b.output('y', b.add(b.add(x, b.float(1)), c), 'f32', ['n', size]);
  return b.build();
}

describe('graphs', () => {
  test('two values cannot have one name', () => {
    const b = new GraphBuilder('twice');
    b.input('x', 'f32', []);
    expect(() => b.input('x', 'f32', [])).toThrow(/x: two values of one graph have the same name/);
  });

  test('large constants leave the protobuf, unless it is to be whole', () => {
    const [apart, whole] = [encodeGraph(plus(1000)), encodeGraph(plus(1000), { inline: true })];
    expect([apart.external.length, apart.external[0]!.data.length, whole.external.length]).toEqual([1, 4000, 0]);
    expect(whole.model.length - apart.model.length).toBeGreaterThan(3900);
    const { graph, opsetImport } = fromBinary(ModelProtoSchema, whole.model);
    expect(opsetImport.map(({ domain, version }) => [domain, version])).toContainEqual(['', 21n]);
    expect(graph!.initializer.find(({ name }) => name === 'c')!.rawData).toEqual(bytesOf(new Float32Array(1000).fill(2)));
  });

  test('the same model gives the same bytes', () => {
    const bytes = () => encodeGraph(buildModel(spec, { outputs: ['loss'] })).model;
    expect(bytes()).toEqual(bytes());
  });

  test('a linear layer is the node called like its module', () => {
    const { nodes } = buildModel(spec, { outputs: ['logits'] });
    const names = nodes.filter(({ op, name }) => op === 'MatMul' && name.startsWith('model.')).map(({ name }) => name);
    // Besides them the two products of attention.
    expect(names.filter((name) => !/self_attn\.(products|mixed)$/.test(name))).toHaveLength(2 * 7);
    expect(names).toHaveLength(2 * 9);
    expect(names).toContain('model.layers.1.self_attn.o_proj');
  });

  test('only ONNX operators', () => {
    const { nodes } = buildModel(spec, { outputs: ['logits', 'loss', 'hidden'], cache: true });
    expect(new Set(nodes.map(({ domain }) => domain))).toEqual(new Set(['']));
  });
});

/** The native runtime is an optional dependency. */
const runtimes = await loadRuntime({ runtime: 'native' }).then(
  (): Backend[] => ['native', 'wasm'],
  (): Backend[] => ['wasm'],
);

describe.each(runtimes)('sessions on %s', (runtime) => {
  test('run, in order, until closed', async () => {
    const session = await createSession(plus(1000), { runtime });
    expect(session.backend).toBe(runtime);
    const feed = (value: number): GraphTensor => ({ type: 'f32', dims: [1, 1000], data: new Float32Array(1000).fill(value) });
    const [a, b] = await Promise.all([session.run({ x: feed(1) }), session.run({ x: feed(2) })]);
    expect([a!['y']!.data[999], b!['y']!.data[0]]).toEqual([4, 5]);
    await expect(session.run({ x: { ...feed(1), dims: [2, 500] } })).rejects.toThrow(ModelError);
    await expect(session.run({})).rejects.toThrow(ModelError);
    await session.close();
    await session.close();
    await expect(session.run({ x: feed(1) })).rejects.toThrow(/after it was closed/);
  });

  test('a graph that is none is refused in our words', async () => {
    const b = new GraphBuilder('broken');
    b.output('y', b.node('NoSuchOperator', [b.input('x', 'f32', [1])]), 'f32', [1]);
    await expect(createSession(b.build(), { runtime })).rejects.toThrow(
      /broken: ONNX Runtime could not run the graph .*NoSuchOperator/,
    );
  });
});

describe.each(runtimes)('a large vocabulary on %s', (runtime) => {
  // Three pieces; the second length leaves one of them empty.
  test.each([8, 3])('losses of %i tokens are cut into pieces', async (length) => {
    const large = { ...spec, vocab: 70_000 };
    const model = await loadLanguageModel(large, weightsOf(large), { runtime, threads: 1 });
    const ids = Int32Array.from({ length: 2 * length }, (_, i) => (i * 9973) % large.vocab);
    const losses = await model.losses(ids, 2, length);
    const logits = await model.logits(ids, 2, length);
    expect(losses.length).toBe(2 * (length - 1));
    losses.forEach((loss, i) => {
      const at = Math.floor(i / (length - 1)) * length + (i % (length - 1));
      const row = logits.subarray(at * large.vocab, (at + 1) * large.vocab);
      const sum = row.reduce((total, x) => total + Math.exp(x), 0);
      expect(loss).toBeCloseTo(Math.log(sum) - row[ids[at + 1]!]!, 4);
    });
    await model.close();
  });
});

describe('a language model', async () => {
  const model = await loadLanguageModel(spec, weights, { threads: 1 });
  afterAll(() => model.close());
  const ids = Int32Array.of(1, 2, 3, 4, 5, 6, 7, 8);

  test('one layer by itself gives what it gives in the whole', async () => {
    const { states } = await model.hidden(ids, 2, 4);
    for (const [layer, before] of [
      [0, 'embed'],
      [1, '0'],
    ] as const) {
      const bound = await bindWeights(buildLayer(spec, layer), (name) => weights(layerPrefix(layer) + name));
      const session = await createSession(bound, { threads: 1 });
      const hidden: GraphTensor = { type: 'f32', dims: [2, 4, 8], data: states.get(before)! };
      const { cos, sin, ...masks } = positionFeeds(spec, 0, 4);
      const mask = layer === 0 ? { mask: masks['mask']! } : { 'mask.3': masks['mask.3']! };
      const { output } = await session.run({ hidden, cos: cos!, sin: sin!, ...mask });
      states.get(`${layer}`)!.forEach((value, i) => {
        expect(output!.data[i]).toBeCloseTo(value, 5);
      });
      await session.close();
    }
  });

  test('large batches run in pieces', async () => {
    // The attention scores of one sequence are 134 MB here, so two sequences are two runs.
    const length = 2900;
    const long = Int32Array.from({ length: 2 * length }, (_, i) => (i * i) % 10);
    const both = await model.losses(long, 2, length);
    expect(both.length).toBe(2 * (length - 1));
    const second = await model.losses(long.subarray(length), 1, length);
    expect(both.subarray(length - 1)).toEqual(second);
  });

  test('decoders of one model do not disturb each other', async () => {
    const [a, b] = [await model.decoder(), await model.decoder()];
    const all = await a.step(ids);
    const rows: number[] = [];
    for (const id of ids) rows.push(...(await b.step(Int32Array.of(id))));
    rows.forEach((value, i) => {
      expect(value).toBeCloseTo(all[i]!, 5);
    });
    await a.close();
    await b.close();
  });

  test.each([
    ['an id past the vocabulary', () => model.logits(Int32Array.of(10), 1, 1), /outside the vocabulary \(got 10, limit 9\)/],
    ['a negative id', () => model.logits(Int32Array.of(-1), 1, 1), /outside the vocabulary/],
    ['a wrong shape', () => model.logits(ids, 3, 3), /do not fill \[batch, length\]/],
    ['no tokens', () => model.logits(new Int32Array(0), 1, 0), /do not fill/],
    ['a single token for a loss', () => model.losses(ids, 8, 1), /at least two tokens/],
    ['a step that is no whole batch', async () => (await model.decoder(3)).step(ids), /do not fill/],
  ])('refuses %s', async (_, call, message) => {
    await expect(call()).rejects.toThrow(ModelError);
    await expect(call()).rejects.toThrow(message);
  });

  test('weights that do not fit are named', async () => {
    const other = await loadLanguageModel(spec, async () => new Float32Array(3));
    await expect(other.losses(ids, 1, 8)).rejects.toThrow(/model\.embed_tokens\.weight: a weight has the wrong number of values/);
    await expect(other.decoder()).rejects.toThrow(/embed_tokens/);
    await other.close();
    await expect(other.losses(ids, 1, 8)).rejects.toThrow(/after it was closed/);
  });
});

describe('the runtime', () => {
  test.runIf(runtimes.includes('native'))('is chosen by option, else by FEWBITS_RUNTIME, else native', async () => {
    const before = env['FEWBITS_RUNTIME'];
    try {
      env['FEWBITS_RUNTIME'] = 'wasm';
      expect(await loadRuntime()).toMatchObject({ backend: 'wasm', reason: expect.stringContaining('WebAssembly') });
      expect((await loadRuntime({ runtime: 'native' })).backend).toBe('native');
      env['FEWBITS_RUNTIME'] = 'abacus';
      await expect(loadRuntime()).rejects.toThrow(/FEWBITS_RUNTIME: unknown runtime \(got abacus/);
      env['FEWBITS_RUNTIME'] = '';
      expect((await loadRuntime()).backend).toBe('native');
    } finally {
      if (before === undefined) delete env['FEWBITS_RUNTIME'];
      else env['FEWBITS_RUNTIME'] = before;
    }
  });
});
