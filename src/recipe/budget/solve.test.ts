import { describe, expect, test } from 'vitest';
import { Random } from '../../numeric/index.ts';
import { type Choice, lowerHull, paretoFront, solve, solveForLoss } from './solve.ts';

/** Choices of groups of very different size, some of them beaten by others. */
function instance(seed: number, groups: number, choices: number): Choice[][] {
  const random = new Random(seed);
  return Array.from({ length: groups }, () => {
    const size = 1 + random.integer(2000);
    return Array.from({ length: 1 + random.integer(choices) }, () => {
      const bits = 2 + random.integer(8);
      return { cost: size * bits, loss: (0.5 + random.uniform()) * 4 ** -bits * (1 + random.integer(20)) };
    });
  });
}

/** All combinations. */
function bruteForce(groups: readonly Choice[][], budget: number): number {
  let best = Number.POSITIVE_INFINITY;
  const visit = (g: number, cost: number, loss: number): void => {
    if (cost > budget) return;
    if (g === groups.length) {
      best = Math.min(best, loss);
      return;
    }
    for (const choice of groups[g]!) visit(g + 1, cost + choice.cost, loss + choice.loss);
  };
  visit(0, 0, 0);
  return best;
}

const range = (groups: readonly Choice[][]) => {
  const total = (pick: (costs: number[]) => number) =>
    groups.reduce((sum, choices) => sum + pick(choices.map(({ cost }) => cost)), 0);
  return [total((costs) => Math.min(...costs)), total((costs) => Math.max(...costs))] as const;
};

describe('solve', () => {
  test('equals brute force on 300 random instances', () => {
    for (let seed = 0; seed < 300; seed++) {
      const groups = instance(seed, 1 + (seed % 6), 6);
      const [least, most] = range(groups);
      const budget = least + ((seed * 7919) % 101) * 0.01 * (most - least);
      const found = solve(groups, budget)!;
      expect(found.exact).toBe(true);
      expect(found.loss).toBeCloseTo(bruteForce(groups, budget), 12);
      expect(found.cost).toBeLessThanOrEqual(budget);
      // What it says of itself is what its choices give.
      expect(found.cost).toBe(found.chosen.reduce((sum, c, g) => sum + groups[g]![c]!.cost, 0));
      expect(found.loss).toBeCloseTo(
        found.chosen.reduce((sum, c, g) => sum + groups[g]![c]!.loss, 0),
        12,
      );
      expect(found.bound).toBeLessThanOrEqual(found.loss);
    }
  });

  test('more budget, no more loss', () => {
    const groups = instance(5, 40, 10);
    const [least, most] = range(groups);
    let before = Number.POSITIVE_INFINITY;
    for (let i = 0; i <= 60; i++) {
      const found = solve(groups, least + (i / 60) * (most - least))!;
      expect(found.exact).toBe(true);
      expect(found.loss).toBeLessThanOrEqual(before * (1 + 1e-12));
      before = found.loss;
    }
  });

  test('200 groups: within the bound of the relaxation, in little time', () => {
    const groups = instance(9, 200, 12);
    const [least, most] = range(groups);
    const start = performance.now();
    const found = solve(groups, least + 0.3 * (most - least))!;
    expect(performance.now() - start).toBeLessThan(5000);
    expect(found.loss / found.bound).toBeLessThan(1.001);
  });

  test('a cut search is still a solution', () => {
    const groups = instance(11, 12, 8);
    const [least, most] = range(groups);
    const budget = least + 0.4 * (most - least);
    const cut = solve(groups, budget, 2)!;
    expect(cut.cost).toBeLessThanOrEqual(budget);
    expect(cut.loss).toBeGreaterThanOrEqual(solve(groups, budget)!.loss * (1 - 1e-12));
  });

  test('no choice fits: undefined; all fit: the least loss of each', () => {
    const groups = instance(3, 4, 5);
    const [least, most] = range(groups);
    expect(solve(groups, least - 1)).toBeUndefined();
    const all = solve(groups, most)!;
    expect(all.loss).toBeCloseTo(
      groups.reduce((sum, choices) => sum + Math.min(...choices.map(({ loss }) => loss)), 0),
      12,
    );
    expect(solve([], 0)).toMatchObject({ chosen: [], cost: 0, loss: 0 });
  });

  test('for a limit of the loss: the least cost', () => {
    const groups = instance(21, 5, 5);
    const [least, most] = range(groups);
    const { loss } = solve(groups, least + 0.5 * (most - least))!;
    const found = solveForLoss(groups, loss * (1 + 1e-9))!;
    expect(found.loss).toBeLessThanOrEqual(loss * (1 + 1e-9));
    // No smaller budget reaches that loss.
    expect(solve(groups, found.cost - 1)?.loss ?? Number.POSITIVE_INFINITY).toBeGreaterThan(loss);
  });
});

test('fronts and hulls', () => {
  const points = [
    { cost: 3, loss: 5 },
    { cost: 1, loss: 9 },
    { cost: 2, loss: 9 },
    { cost: 2, loss: 8 },
    { cost: 4, loss: 1 },
    { cost: 5, loss: 1 },
  ];
  const front = paretoFront(points);
  expect(front.map(({ index }) => index)).toEqual([1, 3, 0, 4]);
  expect(lowerHull(front).map(({ index }) => index)).toEqual([1, 4]);
});
