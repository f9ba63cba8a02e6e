import { describe, expect, test } from 'vitest';
import { llamaSpec, syntheticModel } from '../format/synthetic.fixture.ts';
import type { StatisticsReader } from '../quantize/statistics.ts';
import { type PlanNode, planNodes } from './nodes.ts';
import { type PlanOptions, plan } from './plan.ts';
import { parseRecipe, type RecipeInput } from './schema.ts';

const int4 = {
  kind: 'integer',
  bits: 4,
  symmetric: true,
  granularity: { group: 64 },
  range: 'absmax-half',
  scaleType: 'f16',
} as const;
const rounding = { kind: 'gptq' } as const;

const planned = async (recipe: Omit<RecipeInput, 'version'>, options: PlanOptions = {}) =>
  plan(await syntheticModel(), parseRecipe({ version: 1, ...recipe }), options);
const kinds = (nodes: readonly PlanNode[]) =>
  nodes.map(({ kind }) => kind).filter((kind) => kind !== 'write' && kind !== 'survey');
const linearsOf = (nodes: readonly PlanNode[]) =>
  nodes.flatMap((node) => (node.kind === 'solve' ? [node.group.linears.map((name) => name.split('.').at(-1)).join(' ')] : []));

function expectOrdered(nodes: readonly PlanNode[]): void {
  const seen = new Set<string>();
  for (const { id, after } of nodes) {
    for (const before of after) expect(seen, `${id} after ${before}`).toContain(before);
    expect(seen).not.toContain(id);
    seen.add(id);
  }
}

describe('nodes of a plan', () => {
  test('without activations every tensor is written once and waits for nothing but its survey', async () => {
    const { nodes, layout, calibration } = await planned({ scheme: { ...int4, granularity: 'tensor' } });
    expectOrdered(nodes);
    expect(calibration).toBeUndefined();
    expect(nodes.filter(({ kind }) => kind === 'write')).toHaveLength(layout.tensors.length);
    expect(nodes.filter(({ kind }) => kind === 'survey')).toHaveLength(14);
    expect(kinds(nodes)).toEqual([]);
  });

  test.each(['parallel', 'block', 'sequential'] as const)('calibration %s', async (order) => {
    const { nodes, layout, calibration } = await planned({ scheme: int4, rounding, calibration: { order, samples: 4 } });
    expectOrdered(nodes);
    expect(calibration).toEqual({ order, correct: true, samples: 4, context: 128, chatTemplate: false, tokens: 512, layers: 2 });
    expect(nodes.flatMap((node) => (node.kind === 'write' ? [node.tensor] : [])).sort((a, b) => a - b)).toEqual([
      ...layout.tensors.keys(),
    ]);
    expect(linearsOf(nodes).slice(0, 4)).toEqual(['q_proj k_proj v_proj', 'o_proj', 'gate_proj up_proj', 'down_proj']);
    const solves = ['solve', 'solve', 'solve', 'solve'];
    const layer = order === 'sequential' ? solves.flatMap((solve) => ['capture', solve]) : ['capture', ...solves];
    expect(kinds(nodes)).toEqual([...layer, 'propagate', ...layer]);
    const propagate = nodes.find((node) => node.kind === 'propagate')!;
    expect(propagate).toMatchObject({ layer: 0, weights: order === 'parallel' ? 'source' : 'output' });
    // What is quantized of a layer is written before activations pass through it, unless they pass through the source.
    const waits = propagate.after.map((id) => id.split(' ')[0]);
    expect(new Set(waits)).toEqual(new Set([order === 'parallel' ? 'capture' : 'write']));
  });

  test('only layers that are quantized are walked to, and the head comes last', async () => {
    const first = await planned({ scheme: int4, rounding, layers: [0, 0] });
    expect(kinds(first.nodes)).toEqual(['capture', 'solve', 'solve', 'solve', 'solve']);
    expect(first.calibration!.layers).toBe(1);
    expect(first.tensors.filter(({ scheme }) => scheme.startsWith('int4'))).toHaveLength(7);
    const head = await planned({ rules: [{ role: 'output', scheme: { ...int4, rounding } }] });
    expect(kinds(head.nodes)).toEqual(['propagate', 'propagate', 'capture', 'solve']);
    expect(linearsOf(head.nodes)).toEqual(['lm_head']);
    expect(head.calibration!.layers).toBe(2);
  });

  test('large Hessians are captured one after another', async () => {
    const wide = { ...llamaSpec, hidden: 8192, heads: 128, intermediate: 256, layers: 1, window: [undefined], vocab: 8 };
    const model = await syntheticModel(llamaSpec);
    const { layout } = await planned({ scheme: int4, rounding });
    const tensors = layout.tensors.filter(({ source }) => source.includes('layers.0.'));
    const nodes = planNodes({ model: { ...model, spec: wide }, tensors, order: 'block' });
    expect(nodes.flatMap((node) => (node.kind === 'capture' ? [node.groups.map(({ width }) => width)] : []))).toEqual([
      [8192],
      [8192],
      [8192, 256],
    ]);
  });

  test('a statistics file replaces the captures; linears that share an input are solved once', async () => {
    const has = (linear: string) => !linear.endsWith('lm_head');
    const statistics: StatisticsReader = {
      name: 'stats.safetensors',
      linears: () => ['model.layers.0.self_attn.q_proj'],
      has,
      shape: (linear) => (has(linear) ? [linear.endsWith('down_proj') ? 512 : 256] : undefined),
      tokens: () => 100,
      shared: (linear) => linear.replace(/[kv]_proj$/, 'q_proj'),
      read: async () => new Float32Array(),
      fingerprint: async () => '',
      close: async () => {},
    };
    const { nodes, calibration, recipe } = await planned({ scheme: int4, rounding }, { statistics });
    expectOrdered(nodes);
    expect(calibration).toBeUndefined();
    expect(recipe.rounding).toEqual({ kind: 'gptq', damp: 0.01, order: 'activation', groups: 'static', block: 128, refine: 2 });
    expect(linearsOf(nodes).slice(0, 5)).toEqual(['down_proj', 'gate_proj', 'up_proj', 'k_proj q_proj v_proj', 'o_proj']);
    await expect(planned({ rules: [{ role: 'output', scheme: { ...int4, rounding } }] }, { statistics })).rejects.toThrow(
      /stats.safetensors: lm_head: the statistics hold no hessian/,
    );
  });
});
