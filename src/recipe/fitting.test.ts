import { expect, test } from 'vitest';
import { containers } from '../format/index.ts';
import { llamaSpec, randomTensor, syntheticBag, syntheticModel } from '../format/synthetic.fixture.ts';
import type { Model } from '../format/types.ts';
import { type QuantizeOptions, recipeFromOptions } from './options.ts';
import { resolveSchemes } from './resolve.ts';

const resolve = (model: Model, options: QuantizeOptions) => {
  const recipe = recipeFromOptions(options, 'model');
  return resolveSchemes(model, recipe, containers[recipe.container!], false);
};

/** Each piece of advice in an error as options: "use --group 64 or 32 with --keep '*.mlp.*', or --to fewbits". */
function advised(error: unknown): QuantizeOptions[] {
  const [, advice] = /; use (.*)$/.exec((error as Error).message)!;
  return advice!.split(', or ').flatMap((piece) => {
    const keep = [...piece.matchAll(/--keep '([^']*)'/g)].map(([, glob]) => glob!);
    const to = /--to (\S+)/.exec(piece)?.[1];
    const groups = /--group (-?\d+)( or -?\d+)*/.exec(piece)?.[0].match(/-?\d+/g) ?? [undefined];
    return groups.map((group) => ({
      ...(keep.length > 0 && { keep }),
      ...(to !== undefined && { to }),
      ...(group !== undefined && { group: Number(group) }),
    }));
  });
}

// The shape of stories260K.
const stories = {
  ...llamaSpec,
  ...{ hidden: 64, intermediate: 172, heads: 8, kvHeads: 4, headDim: 8, rope: { ...llamaSpec.rope, dims: 8 } },
};

test.each<[string, QuantizeOptions, string]>([
  [
    'groups for gptq',
    { method: 'gptq' },
    "down_proj.weight and 13 more of 14 tensors: rows do not divide into groups (got 172 columns in groups of 128); use --group 64 with --keep '*.mlp.*', or --to fewbits with --group -1 (the row)",
  ],
  [
    'words for gptq',
    { method: 'gptq', group: 4 },
    "down_proj.weight and 5 more of 14 tensors: gptq cannot hold int4 g4 sym: rows of 172 inputs do not fill words of 32 bits, 8 codes of 4 bits; use --keep '*.mlp.*', or --to fewbits",
  ],
  ['groups for ours', {}, 'use --group -1 (the row)'],
  [
    'one kind of matrix',
    { group: 64 },
    "down_proj.weight and 1 more of 14 tensors: rows do not divide into groups (got 172 columns in groups of 64); use --group -1 (the row), or --keep 'model.layers.*.mlp.down_proj.weight'",
  ],
  [
    'one matrix',
    { group: 64, keep: ['*1.mlp.down_proj*'] },
    "down_proj.weight: rows do not divide into groups (got 172 columns in groups of 64); use --group -1 (the row), or --keep 'model.layers.0.mlp.down_proj.weight'",
  ],
  [
    'zero points',
    { to: 'compressed-tensors', symmetric: false, group: -1 },
    "172 outputs do not fill the words of their zero points, 8 a word; --symmetric has none; use --keep 'model.layers.*.mlp.gate_proj.weight' --keep 'model.layers.*.mlp.up_proj.weight', or --to fewbits",
  ],
])('%s: what is advised works for all tensors', async (_, options, message) => {
  const model = await syntheticModel(stories);
  const all = { bits: 4, ...options };
  let error: unknown;
  expect(() => {
    try {
      resolve(model, all);
    } catch (thrown) {
      error = thrown;
      throw thrown;
    }
  }).toThrow(message);
  const pieces = advised(error);
  expect(pieces.length).toBeGreaterThan(0);
  for (const { keep = [], ...piece } of pieces)
    expect(resolve(model, { ...all, ...piece, keep: [...(options.keep ?? []), ...keep] }).schemes.length).toBe(
      model.tensors.length,
    );
});

test('no glob spares the others of a bag: its tensors are named', async () => {
  const bag = await syntheticBag([
    ['a', randomTensor([8, 64], 1)],
    ['b', randomTensor([8, 50], 2)],
    ['c', randomTensor([8, 62], 3)],
  ]);
  const scheme = {
    kind: 'integer',
    bits: 4,
    symmetric: true,
    granularity: { group: 32 },
    range: 'absmax-half',
    scaleType: 'f16',
  };
  const recipe = recipeFromOptions({ recipe: { version: 1, scheme } }, 'bag');
  expect(() => resolveSchemes(bag, recipe, containers.fewbits, false)).toThrow(
    "b and 1 more of 3 tensors: rows do not divide into groups (got 50 columns in groups of 32); use --group -1 (the row), or --keep 'b' --keep 'c'",
  );
});
