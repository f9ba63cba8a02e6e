import { describe, expect, test } from 'vitest';
import { llamaSpec, randomTensor, syntheticBag, syntheticModel } from '../../format/synthetic.fixture.ts';
import { globMatch } from '../glob.ts';
import { plan } from '../plan.ts';
import { parseRecipe, type Recipe } from '../schema.ts';
import { parseSensitivities } from './document.ts';
import { fitLoss, fitTo, priceList } from './fit.ts';
import { tensorGroups } from './groups.ts';
import { type Assignment, rulesFor } from './rules.ts';
import { solve } from './solve.ts';
import type { Sensitivities } from './types.ts';

const gguf: Recipe = parseRecipe({ version: 1, container: 'gguf' });

/** Errors that fall by 4 with each bit of a type; groups weigh differently. */
async function sensitivities(recipe = gguf): Promise<Sensitivities> {
  const groups = tensorGroups(await syntheticModel(), recipe).map(({ tensors, candidates }, g) => ({
    tensors: tensors.map(({ name }) => name),
    measure: 'hessian' as const,
    scale: 1 + ((g * 7) % 5),
    probes: [],
    choices: candidates.map((scheme) => ({ scheme, error: 4 ** -Number(/\d/.exec(JSON.stringify(scheme))![0]) })),
  }));
  const container = recipe.container ?? 'fewbits';
  return { version: 1, source: 'x', container, unit: 'kl', tokens: { statistics: 1, probes: 1 }, groups };
}

const prices = async (recipe = gguf) =>
  priceList(await syntheticModel(), recipe, await sensitivities(recipe), { output: 'out.gguf' });

describe('groups', () => {
  test('q, k and v are one group, gate and up too; kept tensors and other layers are none', async () => {
    const model = await syntheticModel();
    const names = (recipe: Recipe) =>
      tensorGroups(model, recipe).map(({ tensors }) =>
        tensors
          .map(({ role }) => role)
          .sort()
          .join(' '),
      );
    const layer = ['k q v', 'o', 'gate up', 'down'];
    expect(names(gguf)).toEqual(expect.arrayContaining(layer));
    expect(names(gguf).filter((roles) => roles === 'k q v')).toHaveLength(llamaSpec.layers);
    expect(names(parseRecipe({ version: 1, container: 'gguf', layers: [1, 1] })).sort()).toEqual([...layer].sort());
    const keep = parseRecipe({ version: 1, container: 'gguf', layers: [1, 1], keep: ['*.v_proj.weight', '*down*'] });
    expect(names(keep).sort()).toEqual(['gate up', 'k q', 'o']);
  });

  test('each container has candidates that it can hold', async () => {
    const model = await syntheticModel();
    for (const container of ['gguf', 'fewbits', 'gptq', 'compressed-tensors'] as const) {
      const groups = tensorGroups(model, parseRecipe({ version: 1, container }));
      for (const { candidates } of groups) expect(candidates.length).toBeGreaterThan(1);
      // Loaders of these two quantize linears of layers only.
      const embedding = groups.some(({ tensors }) => tensors.some(({ role }) => role === 'embedding'));
      expect(embedding).toBe(container === 'gguf' || container === 'fewbits');
    }
    expect(() => tensorGroups(model, parseRecipe({ version: 1, container: 'safetensors' }))).toThrow(/holds no quantized/);
    expect(() => tensorGroups(model, parseRecipe({ version: 1, keep: ['*'] }))).toThrow(/no matrix whose type could be chosen/);
  });
});

describe('rules', () => {
  const decided = (rules: ReturnType<typeof rulesFor>, name: string) =>
    rules.findLast((rule) => [rule.name!].flat().some((pattern) => globMatch(pattern, name)))?.scheme;
  const assignment = (name: string, type: string, layer?: number): Assignment => ({
    tensor: { name, ...(layer !== undefined && { layer }) },
    scheme: { kind: 'storage', type: type as 'q4_k' },
  });

  test('the last rule that matches gives each tensor its scheme, with one pattern for what layers have in common', () => {
    const types = ['q4_k', 'q4_k', 'q6_k', 'q4_k', 'q3_k', 'q4_k', 'q4_k', 'q4_k', 'q4_k', 'q4_k', 'q4_k', 'q5_k'];
    const all = [
      ...types.map((type, layer) => assignment(`model.layers.${layer}.mlp.down_proj.weight`, type, layer)),
      assignment('lm_head.weight', 'q8_0'),
    ];
    const rules = rulesFor(all);
    for (const { tensor, scheme } of all) expect(decided(rules, tensor.name)).toEqual(scheme);
    expect(rules.flatMap(({ name }) => name!)).toHaveLength(5);
  });

  test('names that look like patterns stand for themselves', () => {
    const all = [assignment('a[0]', 'q4_k'), assignment('a*', 'q5_k'), assignment('a0', 'q6_k'), assignment('a?', 'q8_0')];
    const rules = rulesFor(all);
    for (const { tensor, scheme } of all) expect(decided(rules, tensor.name)).toEqual(scheme);
  });
});

describe('fit', () => {
  test('the plan of the recipe takes no more than the budget, and more budget never costs', async () => {
    const list = await prices();
    let before = Number.POSITIVE_INFINITY;
    for (const bytes of [430_000, 500_000, 620_000, 700_000, 900_000]) {
      const fitted = await fitTo(list, { bytes });
      expect(fitted.plan.bytes).toBeLessThanOrEqual(bytes);
      // The recipe alone makes the same file.
      const again = await plan(await syntheticModel(), fitted.recipe, { output: 'out.gguf' });
      expect(again.bytes).toBe(fitted.plan.bytes);
      expect(fitted.loss).toBeLessThanOrEqual(before);
      expect(fitted.loss).toBeGreaterThanOrEqual(fitted.bound);
      before = fitted.loss;
    }
  });

  test('bits per weight are those of the plan', async () => {
    const fitted = await fitTo(await prices(), { bitsPerWeight: 5 });
    expect(fitted.plan.bitsPerWeight).toBeLessThanOrEqual(5);
    expect(fitted.plan.bitsPerWeight).toBeGreaterThan(4.7);
  });

  test('too small: the least size is said; too large: the best is taken', async () => {
    const list = await prices();
    const message = await fitTo(list, { bytes: 100_000 }).catch((error: Error) => error.message);
    const least = Number(/limit (\d+) bytes at least/.exec(message as string)![1]);
    expect((await fitTo(list, { bytes: least })).plan.bytes).toBe(least);
    await expect(fitTo(list, { bytes: least - 1 })).rejects.toThrow(/nothing is as small/);
    await expect(fitTo(list, { bitsPerWeight: 1 })).rejects.toThrow(/bits per weight at least/);
    const whole = await fitTo(list, { bytes: 1e9 });
    expect(whole).toMatchObject({ loss: 0, whole: true });
  });

  test('the bound is one wherever the search stops: of what the file leaves for its tensors', async () => {
    const list = await prices();
    const choices = list.groups.map((one) => one.choices);
    const message = await fitTo(list, { bytes: 100_000 }).catch((error: Error) => error.message);
    const least = Number(/limit (\d+) bytes at least/.exec(message as string)![1]);
    let smallest = 0;
    for (let bytes = least; bytes < least + 12_000; bytes += 1500) {
      const fitted = await fitTo(list, { bytes });
      const tensors = fitted.groups.reduce((sum, group) => sum + group.bytes, 0);
      const room = bytes - (fitted.plan.bytes - tensors);
      expect(fitted.bound).toBeCloseTo(solve(choices, room)!.bound, 12);
      if (fitted.plan.bytes === least && fitted.bound < 0.999 * fitted.loss) smallest++;
    }
    expect(smallest).toBeGreaterThan(0);
  });

  test('a limit of the loss: the least bytes that keep it', async () => {
    const list = await prices();
    const { loss, plan: made } = await fitTo(list, { bytes: 620_000 });
    const fitted = (await fitLoss(list, loss))!;
    expect(fitted.loss).toBeLessThanOrEqual(loss * (1 + 1e-9));
    expect(fitted.plan.load.weights).toBeLessThanOrEqual(made.load.weights);
  });

  test('containers of integers: fused linears agree, and the plan holds', async () => {
    for (const container of ['fewbits', 'gptq', 'compressed-tensors'] as const) {
      const recipe = parseRecipe({ version: 1, container });
      const list = await priceList(await syntheticModel(), recipe, await sensitivities(recipe), { output: 'out' });
      const { plan: made } = await fitTo(list, { bytes: 850_000 });
      expect(made.bytes).toBeLessThanOrEqual(850_000);
      expect(made.warnings.join()).not.toMatch(/fuse/);
    }
  });

  test('what a budget decides is not decided by the recipe too', async () => {
    const model = await syntheticModel();
    const refused = (recipe: object) => priceList(model, parseRecipe({ version: 1, container: 'gguf', ...recipe }), {} as never);
    await expect(refused({ fileType: 'q4_k_m' })).rejects.toThrow(/the recipe has fileType/);
    await expect(refused({ rules: [{ name: '*', scheme: { kind: 'keep' } }] })).rejects.toThrow(/the recipe has rules/);
    await expect(refused({ transforms: [{ kind: 'awq' }] })).rejects.toThrow(/awq changes the weights/);
    const all = await sensitivities();
    const some = { ...all, groups: all.groups.slice(1) };
    await expect(priceList(model, gguf, some)).rejects.toThrow(/sensitivities say nothing of/);
  });
});

test('a bag of tensors has groups of one, and rules by name', async () => {
  const bag = await syntheticBag([
    ['a', randomTensor([64, 256], 1)],
    ['b', randomTensor([64, 256], 2)],
  ]);
  expect(tensorGroups(bag, gguf).map(({ tensors }) => tensors.length)).toEqual([1, 1]);
});

test('a document that somebody broke is refused with the place', async () => {
  const all = await sensitivities();
  expect(parseSensitivities(JSON.parse(JSON.stringify(all)), 's.json')).toEqual(all);
  const broken = { ...all, groups: [{ ...all.groups[0]!, scale: -1 }] };
  expect(() => parseSensitivities(broken, 's.json')).toThrow(/s\.json: .* at groups\.0\.scale/);
});
