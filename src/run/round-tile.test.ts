/** Tiles that are rounded with feedback, as a worker does them: what decides that they are, and that rows do not see each other. */
import { expect, test } from 'vitest';
import { open } from '../format/index.ts';
import { randomValues, syntheticBag } from '../format/synthetic.fixture.ts';
import { MemoryStore } from '../io/index.ts';
import { correlatedHessian } from '../quantize/rounding/correlated.fixture.ts';
import type { StatisticsReader } from '../quantize/statistics.ts';
import { parseRecipe, plan, type RecipeInput, recipeFromOptions, tilesOf } from '../recipe/index.ts';
import { fromF32 } from '../tensor/index.ts';
import type { Report } from './report.ts';
import { solvedInputs } from './round-tile.ts';
import { run } from './run.ts';
import type { TileTask } from './tile.ts';
import { weightReader } from './weights.ts';

const [rows, cols] = [64, 256];
const hessian = correlatedHessian(cols, 4, 600);
const values = randomValues(rows * cols, 9);
const statistics: StatisticsReader = {
  name: 'statistics',
  linears: () => ['a', 'b'],
  has: (_, kind) => kind === 'hessian' || kind === 'meansquare',
  shape: (_, kind) => (kind === 'hessian' ? [cols, cols] : [cols]),
  tokens: () => 600,
  shared: () => 'a',
  read: async (_, kind) => (kind === 'hessian' ? hessian : hessian.filter((_, i) => i % (cols + 1) === 0)),
  fingerprint: async () => 'one',
  close: async () => {},
};
const int4 = {
  kind: 'integer',
  bits: 4,
  symmetric: true,
  granularity: { group: 64 },
  range: 'absmax-half',
  scaleType: 'f16',
} as const;
const rounding = { kind: 'gptq' } as const;

/** `a` has all rows, `b` the second half of them. */
async function made(
  recipe: Omit<RecipeInput, 'version'>,
  output: string,
): Promise<{ report: Report; a: Float32Array; b: Float32Array }> {
  const tensor = (part: Float32Array) =>
    ({ type: 'f32', shape: [part.length / cols, cols], bytes: fromF32('f32', part) }) as const;
  const bag = await syntheticBag([
    ['a.weight', tensor(values)],
    ['b.weight', tensor(values.slice(values.length / 2))],
  ]);
  const planned = await plan(bag, parseRecipe({ version: 1, ...recipe }), { output, statistics });
  const counts = planned.layout.tensors.map((one) => tilesOf(one).length);
  if (recipe.rounding) expect(counts).toEqual([8, 8]);
  const store = new MemoryStore();
  const report = await run(planned, store, { threads: 2 });
  const read = weightReader(await open({ store, name: output }));
  return { report, a: await read('a.weight'), b: await read('b.weight') };
}

/** Sum over rows of e H e' in f64. */
function loss(found: Float32Array): number {
  let sum = 0;
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < cols; i++) {
      let fed = 0;
      for (let j = 0; j < cols; j++) fed += hessian[i * cols + j]! * (found[r * cols + j]! - values[r * cols + j]!);
      sum += (found[r * cols + i]! - values[r * cols + i]!) * fed;
    }
  return sum;
}

test.each<[string, Omit<RecipeInput, 'version'>, string]>([
  ['integers', { scheme: int4 }, 'out.safetensors'],
  ['blocks', { scheme: { kind: 'storage', type: 'q3_k' }, container: 'gguf' }, 'out.gguf'],
])('%s: a third of the loss of nearest codes at most, and the same rows wherever tiles are cut', async (_, recipe, output) => {
  const [nearest, fed] = [await made(recipe, output), await made({ ...recipe, rounding }, output)];
  expect(loss(fed.a)).toBeLessThan(loss(nearest.a) / 3);
  expect(fed.a.slice(fed.a.length / 2)).toEqual(fed.b);
  expect(fed.report.solves).toEqual([{ linears: ['a', 'b'], width: cols, tokens: 600, damp: 0.01, retries: 0, dead: 0 }]);
  for (const { sqnr } of fed.report.tensors) expect(sqnr).toBeGreaterThan(5);
});

test('spqr: less loss in 3.82 bits than GPTQ with the same groups in 4.19', async () => {
  const { scheme, ...rest } = recipeFromOptions({ method: 'spqr' }, 'bag', 'out.safetensors');
  expect(rest.rounding?.kind).toBe('gptq');
  const int3 = { ...int4, bits: 3, symmetric: false, range: 'minmax', granularity: { group: 16 } } as const;
  // So many a row that 32 rows keep a whole number: the second half of the rows takes turns like the first.
  const split = { sparse: { share: 164 / 64 / cols, by: 'sensitivity' } };
  const [ours, plain] = [
    await made({ scheme: { ...scheme, split } as NonNullable<RecipeInput['scheme']>, rounding }, 'out.safetensors'),
    await made({ scheme: int3, rounding }, 'out.safetensors'),
  ];
  // 164 values of 16 bits with their columns in 64 rows.
  expect(ours.report.bitsPerWeight).toBeCloseTo(3 + (4 + 3) / 16 + (16 + (164 / 64) * (16 + 16)) / cols, 10);
  expect(plain.report.bitsPerWeight).toBeCloseTo(3 + (16 + 3) / 16, 10);
  expect(loss(ours.a)).toBeLessThan(loss(plain.a));
  expect(ours.a.slice(ours.a.length / 2)).toEqual(ours.b);
});

test('types without codes and levels of their own are refused by name', async () => {
  await expect(
    made({ scheme: { kind: 'storage', type: 'q8_k' as 'q8_0' }, container: 'gguf', rounding }, 'o.gguf'),
  ).rejects.toThrow(/q8_k/);
});

test('feedback needs a scheme that asks for it, a factor and a Hessian', () => {
  const factor = {} as NonNullable<NonNullable<TileTask['inputs']>['factor']>;
  const asking = {
    ...int4,
    rounding: { ...rounding, damp: 0.01, order: 'natural', groups: 'static', block: 128, refine: 0 },
  } as const;
  const task = (scheme: TileTask['scheme'], inputs: TileTask['inputs']) => solvedInputs({ scheme, inputs } as TileTask);
  expect(task(asking, { factor, hessian })).toEqual({ factor, hessian });
  expect(task(asking, { hessian })).toBeUndefined();
  expect(task(asking, { factor })).toBeUndefined();
  expect(task(asking, undefined)).toBeUndefined();
  expect(task(int4, { factor, hessian })).toBeUndefined();
  expect(task({ kind: 'keep' }, { factor, hessian })).toBeUndefined();
});
