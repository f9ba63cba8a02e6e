/**
 * Every kind of grid with every way of rounding, splitting, balancing and quantizing inputs: either it is written and read back, and
 * each of the things that were asked for shows, or it is refused by the plan with a reason.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { open } from '../format/index.ts';
import { randomValues, syntheticBag } from '../format/synthetic.fixture.ts';
import type { Model } from '../format/types.ts';
import { MemoryStore } from '../io/index.ts';
import { correlatedHessian } from '../quantize/rounding/correlated.fixture.ts';
import type { WeightScheme } from '../quantize/scheme.ts';
import type { StatisticsReader } from '../quantize/statistics.ts';
import { parseRecipe, plan, type RecipeInput } from '../recipe/index.ts';
import { defaultRounding } from '../recipe/schema.ts';
import { fromF32 } from '../tensor/index.ts';
import { run } from './run.ts';
import { weightReader } from './weights.ts';

const [rows, cols] = [64, 128];
const hessian = correlatedHessian(cols, 5, 500);
const meansquare = Float32Array.from({ length: cols }, (_, i) => hessian[i * (cols + 1)]!);
const statistics: StatisticsReader = {
  name: 'statistics',
  linears: () => [],
  has: () => true,
  shape: (_, kind) => (kind === 'hessian' ? [cols, cols] : [cols]),
  tokens: () => 500,
  shared: () => 'all',
  read: async (_, kind) => (kind === 'hessian' ? hessian : kind === 'absmax' ? meansquare.map(Math.sqrt) : meansquare),
  fingerprint: async () => 'one',
  close: async () => {},
};

/** Gaussian with columns of their own sizes and a few outliers. */
const weights = randomValues(rows * cols, 3).map(
  (value, i) => value * (0.5 + ((i % cols) % 7) / 4) * ((i * 2654435761) % 97 === 0 ? 8 : 1),
);

const group = { group: 32 } as const;
const int = { kind: 'integer', bits: 4, granularity: group, scaleType: 'f16' } as const;
const grids = {
  int4: { ...int, symmetric: true, range: 'absmax-half' },
  'int4 asym': { ...int, symmetric: false, range: 'minmax' },
  'int3 channel': { ...int, bits: 3, symmetric: true, granularity: 'channel', range: 'mse' },
  'int3 nested': { ...int, bits: 3, symmetric: false, range: 'minmax', nested: { bits: 5, per: 'row' } },
  nf4: { kind: 'table', table: 'nf4', granularity: group, range: 'absmax', scaleType: 'f16' },
  'nf4 nested': {
    ...{ kind: 'table', table: 'nf4', granularity: group, range: 'absmax', scaleType: 'f32' },
    nested: { bits: 8, per: 'tensor' },
  },
  ternary: { kind: 'table', table: 'ternary', granularity: group, range: 'mse', scaleType: 'f16' },
  e4m3: { kind: 'table', table: 'e4m3', granularity: 'tensor', range: 'absmax', scaleType: 'f32' },
  mx: { kind: 'mx', element: 'e2m1', exponent: 'best' },
  nvfp4: { kind: 'nvfp4', scale: 'four-over-six' },
  book: { kind: 'codebook', bits: 3, dim: 1, per: 'row', weighted: true, bookType: 'f16' },
  'book of the tensor': { kind: 'codebook', bits: 4, dim: 1, per: 'tensor', weighted: false, bookType: 'f16' },
  pairs: { kind: 'codebook', bits: 6, dim: 2, per: 'tensor', weighted: false, bookType: 'f16' },
} as const satisfies Record<string, WeightScheme>;

const features = {
  rounding: { rounding: { ...defaultRounding } },
  sparse: { split: { sparse: { share: 0.02, by: 'sensitivity' } } },
  columns: { split: { columns: { count: 3 } } },
  lowRank: { split: { lowRank: { rank: 2, weighted: true } } },
  balance: { balance: 'sinkhorn' },
  input: { input: { bits: 8, symmetric: true, dynamic: true, per: 'token' } },
} as const satisfies Record<string, Partial<WeightScheme>>;
type Feature = keyof typeof features;
const names = Object.keys(features) as Feature[];

interface Case {
  name: string;
  grid: keyof typeof grids;
  with: readonly Feature[];
  scheme: WeightScheme;
}

/** All sets of features; inputs, on which no weight depends, alone and beside everything. */
const sets = Array.from({ length: 2 ** names.length }, (_, mask) => names.filter((_, i) => mask & (1 << i))).filter(
  (chosen) => !chosen.includes('input') || chosen.length === 1 || chosen.length === names.length,
);

const cases: Case[] = (Object.keys(grids) as (keyof typeof grids)[]).flatMap((grid, g) =>
  sets.map((chosen, i) => ({ name: `g${g}.${i}.weight`, grid, with: chosen, scheme: schemeOf(grids[grid], chosen) })),
);

function schemeOf(grid: WeightScheme, chosen: readonly Feature[]): WeightScheme {
  const split = Object.assign({}, ...chosen.map((one) => ('split' in features[one] ? features[one].split : {})));
  const rest = chosen.filter((one) => !('split' in features[one])).map((one) => features[one]);
  return Object.assign({}, grid, ...rest, Object.keys(split).length > 0 ? { split } : {}) as WeightScheme;
}

const bagOf = (list: readonly Case[]): Promise<Model> => {
  const bytes = fromF32('f32', weights);
  return syntheticBag(list.map(({ name }) => [name, { type: 'f32', shape: [rows, cols], bytes }] as const));
};
const recipeOf = (list: readonly Case[]): RecipeInput => ({
  version: 1,
  rules: list.map(({ name, scheme }) => ({ name, scheme: scheme as NonNullable<RecipeInput['scheme']> })),
});
const planned = async (list: readonly Case[], model?: Model) =>
  plan(model ?? (await bagOf(list)), parseRecipe(recipeOf(list)), { output: 'out.safetensors', statistics });

/** Sum over rows of e H e'. */
function lossOf(found: Float32Array): number {
  let sum = 0;
  const error = new Float64Array(cols);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) error[c] = found[r * cols + c]! - weights[r * cols + c]!;
    for (let i = 0; i < cols; i++) {
      let fed = 0;
      for (let j = 0; j < cols; j++) fed += hessian[i * cols + j]! * error[j]!;
      sum += error[i]! * fed;
    }
  }
  return sum;
}

const refused = (one: Case): boolean => one.grid === 'pairs' && one.with.includes('rounding');

/** The same without a feature; inputs change no weight. */
const without = (own: readonly Case[], one: Case, feature: Feature): Case =>
  own.find((other) => other.with.join() === one.with.filter((f) => f !== feature && f !== 'input').join())!;

describe.each(Object.keys(grids))('%s', (grid) => {
  const own = cases.filter((one) => one.grid === grid && !refused(one));
  const losses = new Map<string, number>();
  let output: Model;

  beforeAll(async () => {
    const store = new MemoryStore();
    const report = await run(await planned(own), store, { threads: 2 });
    expect(report.solves?.map(({ fallback }) => fallback)).toEqual(grid === 'pairs' ? undefined : [undefined]);
    output = await open({ store, name: 'out.safetensors' });
    const read = weightReader(output);
    for (const { name } of own) losses.set(name, lossOf(await read(name)));
  }, 120_000);

  test('what was asked for is in the file', () => {
    for (const one of own) {
      const stored = output.tensors.find(({ name }) => name === one.name)!;
      if (stored.stored.form !== 'tile') throw new Error('not a tile');
      const { tile } = stored.stored;
      const has = {
        rounding: one.with.includes('rounding'),
        sparse: tile.sparse !== undefined,
        columns: tile.columns !== undefined,
        lowRank: tile.lowRank !== undefined,
        balance: tile.columnScale !== undefined,
        input: stored.input !== undefined,
      };
      expect(
        names.filter((feature) => has[feature]),
        one.name,
      ).toEqual(one.with);
    }
  });

  test('rounding, what is kept apart and corrections lower the loss, inputs change nothing', () => {
    for (const one of own) {
      const loss = losses.get(one.name)!;
      const of = (feature: Feature) => losses.get(without(own, one, feature).name)!;
      const label = `${one.grid} ${one.with.join(' + ')}`;
      expect(loss, label).toBeLessThan(lossOf(new Float32Array(rows * cols)) / 3);
      if (one.with.includes('rounding')) expect(loss, label).toBeLessThan(0.8 * of('rounding'));
      if (one.with.includes('sparse')) expect(loss, label).toBeLessThan(of('sparse'));
      if (one.with.includes('lowRank')) expect(loss, label).toBeLessThan(of('lowRank'));
      if (one.with.includes('input')) expect(loss, label).toBe(of('input'));
    }
  });
});

test.each(cases.filter(refused).map((one) => ({ ...one, label: one.with.join(' + ') })))(
  'pairs with $label are refused',
  async (one) => {
    await expect(planned([one])).rejects.toThrow(/column by column.*dim 2.*single values/);
  },
);

describe('refused by the plan', () => {
  const rounding = { ...defaultRounding };
  const dynamic = { ...rounding, groups: 'dynamic' } as const;
  test.each<[string, WeightScheme, RegExp]>([
    ['dynamic groups of a list', { ...grids.nf4, rounding: dynamic }, /only the scales of integers.*table.*groups: static/],
    ['dynamic groups under nested scales', { ...grids['int3 nested'], rounding: dynamic }, /found before the first column/],
    [
      'a range of Hessian blocks in another order',
      { ...grids.int4, range: 'output-mse', rounding: dynamic },
      /no blocks of the Hessian.*output-mse/,
    ],
    ['a searched scale for a tensor', { ...grids.nf4, granularity: 'tensor', range: 'mse' }, /not over a whole tensor/],
    ['a nested scale for a tensor', { ...grids['nf4 nested'], granularity: 'tensor' }, /nested in nothing/],
    ['a nested integer scale for a tensor', { ...grids['int3 nested'], granularity: 'tensor' }, /no row/],
    [
      'an unweighted correction of fed codes',
      { ...grids.int4, rounding, split: { lowRank: { rank: 2, weighted: false } } },
      /would undo it.*weighted: true/,
    ],
    ['a rank above the rows', { ...grids.int4, split: { lowRank: { rank: 65, weighted: false } } }, /higher rank.*65.*64/],
    ['all columns apart', { ...grids.int4, split: { columns: { count: 128 } } }, /no value of a row/],
  ])('%s', async (_, scheme, message) => {
    await expect(planned([{ name: 'm.weight', grid: 'int4', with: [], scheme }])).rejects.toThrow(message);
  });

  test('feedback on float types', async () => {
    const bag = await syntheticBag([['m.weight', { type: 'f32', shape: [rows, cols], bytes: fromF32('f32', weights) }]]);
    const recipe = parseRecipe({ version: 1, scheme: { kind: 'storage', type: 'f16', rounding: { kind: 'gptq' } } });
    await expect(plan(bag, recipe, { output: 'out.safetensors', statistics })).rejects.toThrow(
      /cannot be rounded with feedback.*f16/,
    );
  });
});
