/**
 * Mixed precision within a budget. Bytes come from plans, so that they are those of the file: headers, scales, what is kept, and the
 * recipe itself, which is part of the file and grows with its rules.
 */
import { RecipeError } from '../../errors.ts';
import type { Model } from '../../format/types.ts';
import { type Scheme, schemeLabel } from '../../quantize/scheme.ts';
import { type Plan, type PlanOptions, plan } from '../plan.ts';
import { parameters } from '../resolve.ts';
import type { Recipe } from '../schema.ts';
import { tensorGroups } from './groups.ts';
import { rulesFor } from './rules.ts';
import { type Choice, solve, solveForLoss } from './solve.ts';
import type { Sensitivities, TensorGroup } from './types.ts';

/** `bytes`: of all files of the output. `bitsPerWeight`: of the tensors, as plans say it. */
export type Budget = { bytes: number } | { bitsPerWeight: number };

interface PricedChoice extends Choice {
  scheme: Scheme;
}

/** What each group may become, with its bytes and its loss. */
export interface PriceList {
  model: Model;
  base: Recipe;
  options: PlanOptions;
  unit: Sensitivities['unit'];
  groups: readonly { group: TensorGroup; choices: readonly PricedChoice[] }[];
  /** Bytes of the tensors that nothing is chosen for. */
  fixed: number;
  parameters: number;
}

export interface Fitted {
  recipe: Recipe;
  plan: Plan;
  /** Sum of the losses: nats of KL, or relative errors of outputs. */
  loss: number;
  unit: Sensitivities['unit'];
  /** No choice has less whose tensors fit into what the budget leaves beside everything else in this file. */
  bound: number;
  groups: { tensors: string[]; scheme: string; bytes: number; loss: number }[];
  /** The scheme of each group of the price list. */
  chosen: Scheme[];
  /** The budget was larger than the best choice of all groups. */
  whole: boolean;
}

/**
 * @param base what the budget does not decide: container, rounding, calibration, what is kept, layers
 * @throws RecipeError where the base decides schemes, or the sensitivities lack a group
 */
export async function priceList(
  model: Model,
  base: Recipe,
  sensitivities: Sensitivities,
  options: PlanOptions = {},
): Promise<PriceList> {
  checkBase(base);
  const groups = tensorGroups(model, base);
  const priced = groups.map((group) => ({ group, choices: lossesOf(group, sensitivities) }));
  const labels = new Set(priced.flatMap(({ choices }) => choices.map(({ scheme }) => JSON.stringify(scheme))));
  const bytes = new Map<string, Map<string, number>>();
  for (const label of labels) {
    const able = priced.filter(({ choices }) => choices.some(({ scheme }) => JSON.stringify(scheme) === label));
    const chosen = able.flatMap(({ group }) => group.tensors.map((tensor) => ({ tensor, scheme: JSON.parse(label) as Scheme })));
    const planned = await plan(model, { ...base, rules: rulesFor(chosen) }, options).catch((error: unknown) => {
      // Containers of quantized models refuse one in which everything stays: there every group becomes something else.
      if (label === KEEP && error instanceof RecipeError) return undefined;
      throw error;
    });
    if (planned) bytes.set(label, new Map(planned.tensors.map((tensor) => [tensor.source, tensor.bytes])));
  }
  const free = new Set(groups.flatMap(({ tensors }) => tensors.map(({ name }) => name)));
  const any = [...bytes.values()][0]!;
  return {
    ...{ model, base, options, unit: sensitivities.unit },
    groups: priced.map(({ group, choices }) => ({
      group,
      choices: choices.flatMap((choice) => {
        const sizes = bytes.get(JSON.stringify(choice.scheme));
        return sizes ? [{ ...choice, cost: group.tensors.reduce((sum, { name }) => sum + sizes.get(name)!, 0) }] : [];
      }),
    })),
    fixed: [...any].reduce((sum, [name, size]) => (free.has(name) ? sum : sum + size), 0),
    parameters: parameters(model),
  };
}

const KEEP = JSON.stringify({ kind: 'keep' });

function checkBase({ scheme, fileType, rules, transforms }: Recipe): void {
  const decided = Object.entries({ scheme, fileType, transforms, rules: rules.length ? rules : undefined }).find(
    ([, value]) => value !== undefined,
  );
  if (!decided) return;
  const rewrites = decided[0] === 'transforms';
  throw new RecipeError({
    what: rewrites
      ? `${transforms![0]!.kind} changes the weights that the sensitivities speak of`
      : `a budget chooses the schemes, and the recipe has ${decided[0]}`,
    where: '--fit',
    next: rewrites ? 'leave the transform out' : 'leave out one of both',
  });
}

function lossesOf(group: TensorGroup, { groups }: Sensitivities): PricedChoice[] {
  const names = group.tensors.map(({ name }) => name).join(' ');
  const found = groups.find(({ tensors }) => tensors.join(' ') === names);
  const known = new Map(found?.choices.map(({ scheme, error }) => [JSON.stringify(scheme), error]));
  const choices = group.candidates.map((scheme) => {
    const error = known.get(JSON.stringify(scheme));
    if (error !== undefined) return { scheme, cost: 0, loss: error * found!.scale };
    throw new RecipeError({
      what: `the sensitivities say nothing of ${schemeLabel(scheme)}`,
      where: group.tensors[0]!.name,
      next: 'measure them again, with the same --keep and --layers',
    });
  });
  return [...choices, { scheme: { kind: 'keep' }, cost: 0, loss: 0 }];
}

/** Rounds in which the bytes beside the tensors settle: they depend on the recipe, and the recipe on them. */
const ROUNDS = 6;

/**
 * The least loss within a budget.
 * @throws RecipeError where the smallest choices together are larger, with their size
 */
export async function fitTo(prices: PriceList, budget: Budget): Promise<Fitted> {
  const choices = prices.groups.map((one) => one.choices);
  const most = total(choices.map((all) => all.reduce((best, one) => (one.loss < best.loss ? one : best))));
  if ('bitsPerWeight' in budget) {
    const tensors = Math.floor((budget.bitsPerWeight * prices.parameters) / 8 + 1e-6) - prices.fixed;
    const found = solve(choices, tensors);
    if (found) return fitted(prices, found, tensors >= most);
    const least = await fitted(prices, smallest(choices));
    throw tooSmall(`${least.plan.bitsPerWeight.toFixed(4)} bits per weight`, `${budget.bitsPerWeight} bits per weight`);
  }
  let beside = 0;
  let best: Fitted | undefined;
  for (let round = 0; round < ROUNDS; round++) {
    const tensors = budget.bytes - beside;
    const found = solve(choices, tensors) ?? smallest(choices);
    const made = await fitted(prices, found, tensors >= most);
    const own = made.plan.bytes - found.cost;
    if (made.plan.bytes <= budget.bytes && (!best || made.loss < best.loss)) best = made;
    if (own === beside) break;
    // Until something fits, the most that was ever needed is set aside: else recipes of two lengths could alternate.
    beside = best ? own : Math.max(beside, own);
  }
  const least = best ?? (await fitted(prices, smallest(choices)));
  if (least.plan.bytes <= budget.bytes) return bounded(least, choices, budget.bytes);
  throw tooSmall(`${least.plan.bytes} bytes`, `${budget.bytes} bytes`);
}

/** The bound for the bytes that the tensors have in the end: what lies beside them changes with the recipe while the search goes on. */
function bounded(found: Fitted, choices: readonly (readonly Choice[])[], budget: number): Fitted {
  const cost = found.groups.reduce((sum, { bytes }) => sum + bytes, 0);
  const bound = solve(choices, budget - (found.plan.bytes - cost))?.bound ?? found.bound;
  return { ...found, bound: Math.min(bound, found.loss) };
}

/** The least bytes whose loss stays within a limit; undefined where even the best choices lose more. */
export async function fitLoss(prices: PriceList, limit: number): Promise<Fitted | undefined> {
  const found = solveForLoss(
    prices.groups.map(({ choices }) => choices),
    limit,
  );
  return found && fitted(prices, found);
}

function tooSmall(limit: string, value: string): RecipeError {
  return new RecipeError({
    what: 'nothing is as small as this',
    where: '--fit',
    value,
    limit: `${limit} at least`,
    next: 'give more room, keep fewer tensors, or choose another container',
  });
}

function smallest(choices: readonly (readonly Choice[])[]): { chosen: number[]; cost: number; loss: number; bound: number } {
  const isLess = (a: Choice, b: Choice) => a.cost < b.cost || (a.cost === b.cost && a.loss < b.loss);
  const chosen = choices.map((all) => all.reduce((best, one, i) => (isLess(one, all[best]!) ? i : best), 0));
  const picked = choices.map((all, g) => all[chosen[g]!]!);
  const loss = picked.reduce((sum, one) => sum + one.loss, 0);
  return { chosen, cost: total(picked), loss, bound: loss };
}

function total(choices: readonly Choice[]): number {
  return choices.reduce((sum, { cost }) => sum + cost, 0);
}

async function fitted(
  prices: PriceList,
  { chosen, loss, bound }: { chosen: number[]; loss: number; bound: number },
  whole = false,
): Promise<Fitted> {
  const picked = prices.groups.map(({ group, choices }, g) => ({ group, choice: choices[chosen[g]!]! }));
  const rules = rulesFor(
    picked.flatMap(({ group, choice }) => group.tensors.map((tensor) => ({ tensor, scheme: choice.scheme }))),
  );
  const recipe: Recipe = { ...prices.base, rules };
  return {
    recipe,
    plan: await plan(prices.model, recipe, prices.options),
    ...{ loss, bound, unit: prices.unit, whole },
    chosen: picked.map(({ choice }) => choice.scheme),
    groups: picked.map(({ group, choice }) => ({
      tensors: group.tensors.map(({ name }) => name),
      scheme: schemeLabel(choice.scheme),
      ...{ bytes: choice.cost, loss: choice.loss },
    })),
  };
}
