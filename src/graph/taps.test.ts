import { describe, expect, test } from 'vitest';
import { ModelError } from '../errors.ts';
import { llamaSpec } from '../format/synthetic.fixture.ts';
import { Random } from '../numeric/index.ts';
import { buildGram, buildReductions, gramRows } from './gram.ts';
import { buildHead, buildLayer } from './model.ts';
import { createSession } from './session.ts';
import { keepOutputs, tapInputs } from './taps.ts';
import type { GraphTensor } from './types.ts';

describe('taps', () => {
  const layer = buildLayer(llamaSpec, 0);
  const linears = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'];
  const { graph, taps } = tapInputs(layer, linears);

  test('linears that read one value share an output', () => {
    expect(linears.map((linear) => taps.get(linear))).toEqual([
      ...new Array(3).fill('input.self_attn.q_proj'),
      ...new Array(2).fill('input.mlp.gate_proj'),
      'input.mlp.down_proj',
    ]);
    expect(graph.outputs.map(({ name }) => name)).toEqual(['output', ...new Set(taps.values())]);
    expect(layer.outputs).toHaveLength(1);
  });

  test('what an output does not need is gone', () => {
    const { inputs, nodes } = keepOutputs(graph, ['input.self_attn.q_proj']);
    expect(inputs.map(({ name }) => name)).toEqual(['hidden', 'input_layernorm.weight']);
    expect(nodes.some(({ op }) => op === 'MatMul')).toBe(false);
    const head = tapInputs(buildHead(llamaSpec), ['lm_head']);
    expect(keepOutputs(head.graph, head.taps.values()).inputs.map(({ name }) => name)).toEqual(['hidden', 'model.norm.weight']);
  });

  test('a linear that is not there is refused', () => {
    expect(() => tapInputs(layer, ['mlp.fc1'])).toThrow(ModelError);
  });
});

describe('sums over tokens', () => {
  const [tokens, width] = [37, 600];
  const random = new Random(1);
  const data = Float32Array.from({ length: tokens * width }, () => random.gaussian());
  const x: GraphTensor = { type: 'f32', dims: [tokens, width], data };
  const column = (i: number) => Array.from({ length: tokens }, (_, t) => data[t * width + i]!);

  test('products from the diagonal on', async () => {
    const session = await createSession(buildGram(), { threads: 1 });
    const index = (value: number): GraphTensor => ({ type: 'i64', dims: [1], data: BigInt64Array.of(BigInt(value)) });
    const { gram } = await session.run({ x, from: index(512), to: index(600) });
    expect(gram!.dims).toEqual([88, 88]);
    for (const [i, j] of [
      [0, 0],
      [3, 80],
      [87, 1],
    ] as const) {
      const exact = column(512 + i).reduce((sum, a, t) => sum + a * column(512 + j)[t]!, 0);
      expect(gram!.data[i * 88 + j]).toBeCloseTo(exact, 4);
    }
    await session.close();
  });

  test('reductions of columns', async () => {
    const session = await createSession(buildReductions(['abssum', 'max', 'min', 'squaresum']), { threads: 1 });
    const found = await session.run({ x });
    for (const i of [0, 1, 599]) {
      expect(found['min']!.data[i]).toBe(Math.min(...column(i)));
      expect(found['max']!.data[i]).toBe(Math.max(...column(i)));
      expect(found['abssum']!.data[i]).toBeCloseTo(
        column(i).reduce((sum, a) => sum + Math.abs(a), 0),
        4,
      );
      expect(found['squaresum']!.data[i]).toBeCloseTo(
        column(i).reduce((sum, a) => sum + a * a, 0),
        4,
      );
    }
    await session.close();
  });

  test('tiles: a quarter of the rows, at most 2048, 64 MiB at 8192', () => {
    expect([64, 256, 768, 4096, 8192, 28672].map(gramRows)).toEqual([256, 256, 256, 1024, 2048, 2048]);
  });
});
