import { expect, test } from 'vitest';
import { architectures } from './architectures/index.ts';
import { modelFolds, residualStream, sourceRow, sourceWidth } from './folds.ts';
import { modelTensors } from './tensors.ts';
import type { ModelSpec } from './types.ts';

function specOf(architecture: string, given: Partial<ModelSpec> = {}): ModelSpec {
  return {
    architecture,
    hidden: 48,
    intermediate: 96,
    layers: 3,
    heads: 6,
    kvHeads: 2,
    headDim: 20,
    vocab: 32,
    context: 64,
    normEpsilon: 1e-6,
    rope: { dims: 20, base: 10000, scaling: { kind: 'none' } },
    tied: false,
    bias: { q: false, k: false, v: true, o: true, gate: false, up: false, down: false },
    qkNorm: architecture === 'qwen3',
    window: [undefined, undefined, undefined],
    ...given,
  };
}

test.each(architectures.map(({ name }) => name))('%s: every linear reads what exactly one fold gives it', (name) => {
  for (const tied of [false, true]) {
    const spec = specOf(name, { tied });
    const folds = modelFolds(spec);
    const shapes = new Map(modelTensors(spec).map(({ name: tensor, shape }) => [tensor, shape]));
    const read = folds.flatMap(({ to }) => to);
    const linears = modelTensors(spec).filter(({ shape, role }) => shape.length === 2 && (role !== 'embedding' || tied));
    expect(read.toSorted()).toEqual(linears.map(({ name: tensor }) => tensor).toSorted());
    expect(folds.map(({ layer }) => layer)).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]);
    for (const fold of folds) {
      for (const weight of fold.to) expect(shapes.get(weight)![1], weight).toBe(fold.width);
      const { from } = fold;
      const source = from.kind === 'norm' ? from.gain : from.weight;
      expect(shapes.get(source)![0], source).toBe(sourceWidth(fold));
      if (from.kind === 'linear') expect(from.bias !== undefined).toBe(shapes.has(source.replace('.weight', '.bias')));
    }
    expect(folds.at(-1)).toMatchObject({ from: { gain: 'model.norm.weight' }, ...(tied ? { tied } : {}) });
  }
});

test('three query heads in a row read one value head', () => {
  const fold = modelFolds(specOf('llama')).find(({ heads }) => heads)!;
  expect([fold.width, sourceWidth(fold)]).toEqual([120, 40]);
  const rows = Array.from({ length: 120 }, (_, channel) => sourceRow(fold, channel));
  const first = Array.from({ length: 20 }, (_, i) => i);
  const second = first.map((i) => i + 20);
  expect(rows).toEqual([...first, ...first, ...first, ...second, ...second, ...second]);
});

test('what writes hidden states and what reads them', () => {
  const { embedding, writers, readers, width } = residualStream(specOf('qwen3'));
  expect([embedding, width]).toEqual(['model.embed_tokens.weight', 48]);
  expect(writers.slice(0, 2)).toEqual([
    { weight: 'model.layers.0.self_attn.o_proj.weight', bias: 'model.layers.0.self_attn.o_proj.bias' },
    { weight: 'model.layers.0.mlp.down_proj.weight' },
  ]);
  expect([writers.length, readers.length]).toEqual([6, 7]);
});
