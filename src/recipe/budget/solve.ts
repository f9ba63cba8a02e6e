/**
 * One choice for each group so that the costs of all stay within a budget and the sum of the losses is least: the multiple-choice
 * knapsack problem (Kellerer, Pferschy, Pisinger, Knapsack Problems, chapter 11).
 *
 * 1. Of each group only its Pareto front counts; of that, the lower convex hull gives the relaxation: steps in the order of what they
 *    save a byte (Sinha and Zoltners 1979). Its value bounds every solution from below, its whole steps are a good solution.
 * 2. Groups are added one after another to a list of partial solutions that nothing beats in both cost and loss. A partial solution
 *    whose bound (its loss and the relaxation of the groups that are left) is not below the best known solution is dropped.
 */

/** What one group may become. */
export interface Choice {
  /** Bytes, at least 0. */
  cost: number;
  /** At least 0; losses of groups add up. */
  loss: number;
}

export interface Solution {
  /** Index of the choice of each group. */
  chosen: number[];
  cost: number;
  loss: number;
  /** No solution has less loss than this: the relaxation's. */
  bound: number;
  /** Nothing was left out of the search: the loss is the least there is. */
  exact: boolean;
}

/** Partial solutions that are kept at a time; 17 groups of a small model need a few hundred. */
const MAX_STATES = 50_000;

/** @returns undefined where the cheapest choices together cost more than the budget. */
export function solve(groups: readonly (readonly Choice[])[], budget: number, maxStates = MAX_STATES): Solution | undefined {
  const fronts = groups.map(paretoFront);
  const least = sum(fronts.map((front) => front[0]!.cost));
  if (least > budget) return undefined;
  const order = [...fronts.keys()].sort((a, b) => spread(fronts[b]!) - spread(fronts[a]!));
  const relaxed = relaxations(order.map((index) => fronts[index]!));
  const bound = relaxed[0]!.lossAt(budget);
  let best = greedy(fronts, budget);
  let states: State[] = [{ cost: 0, loss: 0 }];
  let exact = true;
  for (const [depth, index] of order.entries()) {
    const rest = relaxed[depth + 1]!;
    const allowed = best.loss - tolerance(best.loss);
    const next: State[] = [];
    for (const state of states) {
      for (const point of fronts[index]!) {
        const cost = state.cost + point.cost;
        if (cost + rest.least > budget) break; // the front is sorted by cost
        const loss = state.loss + point.loss;
        if (loss + rest.lossAt(budget - cost) >= allowed) continue;
        next.push({ cost, loss, before: state, choice: point.index });
      }
    }
    states = undominated(next);
    if (states.length > maxStates) {
      exact = false;
      const promise = new Map(states.map((state) => [state, state.loss + rest.lossAt(budget - state.cost)]));
      states.sort((a, b) => promise.get(a)! - promise.get(b)!).length = maxStates;
    }
  }
  for (const state of states) if (state.loss < best.loss) best = { ...state, chosen: chosenOf(state, order) };
  const { chosen, cost, loss } = best;
  return { chosen, cost, loss, bound: Math.min(bound, loss), exact };
}

/** The least cost at which the losses stay within a limit: the same problem, with cost and loss exchanged. */
export function solveForLoss(groups: readonly (readonly Choice[])[], limit: number): Solution | undefined {
  const turned = groups.map((choices) => choices.map(({ cost, loss }) => ({ cost: loss, loss: cost })));
  const found = solve(turned, limit);
  return found && { ...found, cost: found.loss, loss: found.cost };
}

interface Point extends Choice {
  index: number;
}

interface State extends Choice {
  before?: State;
  choice?: number;
}

/** Losses closer than this are equal: sums in another order. */
function tolerance(loss: number): number {
  return 1e-12 * Math.abs(loss);
}

/** Choices that no other beats in both, by rising cost and falling loss. @returns at least one */
export function paretoFront(choices: readonly Choice[]): Point[] {
  const sorted = choices
    .map(({ cost, loss }, index) => ({ cost, loss, index }))
    .sort((a, b) => a.cost - b.cost || a.loss - b.loss);
  const front: Point[] = [];
  for (const point of sorted) if (front.length === 0 || point.loss < front.at(-1)!.loss) front.push(point);
  return front;
}

/** The points of a front on its lower convex hull: losses fall ever more slowly by cost. */
export function lowerHull<T extends Choice>(front: readonly T[]): T[] {
  const hull: T[] = [];
  for (const point of front) {
    while (hull.length >= 2 && slope(hull.at(-2)!, hull.at(-1)!) >= slope(hull.at(-1)!, point)) hull.pop();
    hull.push(point);
  }
  return hull;
}

/** Loss a byte, negative. */
function slope(from: Choice, to: Choice): number {
  return (to.loss - from.loss) / (to.cost - from.cost);
}

interface Step {
  group: number;
  point: Point;
  cost: number;
  loss: number;
}

/** From each point of the hulls to the next one, what saves most a byte first; within a group in its order. */
function stepsOf(fronts: readonly Point[][]): Step[] {
  const steps = fronts.flatMap((front, group) => {
    const hull = lowerHull(front);
    return hull
      .slice(1)
      .map((point, i) => ({ group, point, cost: point.cost - hull[i]!.cost, loss: point.loss - hull[i]!.loss }));
  });
  return steps.sort((a, b) => a.loss / a.cost - b.loss / b.cost);
}

/** Whole steps while they fit; a group whose step does not fit stays where it is. Then any point that still fits and helps. */
function greedy(fronts: readonly Point[][], budget: number): Pick<Solution, 'chosen' | 'cost' | 'loss'> {
  const at = fronts.map((front) => front[0]!);
  let cost = sum(at.map((point) => point.cost));
  const stopped = new Set<number>();
  for (const step of stepsOf(fronts)) {
    if (stopped.has(step.group)) continue;
    if (cost + step.cost > budget) stopped.add(step.group);
    else {
      cost += step.cost;
      at[step.group] = step.point;
    }
  }
  for (const [group, front] of fronts.entries()) {
    const better = front.findLast((point) => cost - at[group]!.cost + point.cost <= budget)!;
    if (better.loss >= at[group]!.loss) continue;
    cost += better.cost - at[group]!.cost;
    at[group] = better;
  }
  return { chosen: at.map(({ index }) => index), cost, loss: sum(at.map(({ loss }) => loss)) };
}

interface Relaxation {
  /** Cost of the cheapest choices. */
  least: number;
  /** A lower bound of the loss within so much cost, where that is at least `least`. */
  lossAt(cost: number): number;
}

/** Of the groups from each position on; the last one is of none. */
function relaxations(fronts: readonly Point[][]): Relaxation[] {
  const steps = stepsOf(fronts);
  return Array.from({ length: fronts.length + 1 }, (_, from) => {
    const rest = fronts.slice(from);
    return relaxation(
      sum(rest.map((front) => front[0]!.cost)),
      sum(rest.map((front) => front[0]!.loss)),
      steps.filter(({ group }) => group >= from),
    );
  });
}

function relaxation(least: number, most: number, steps: readonly Step[]): Relaxation {
  const costs = new Float64Array(steps.length + 1);
  const losses = new Float64Array(steps.length + 1);
  costs[0] = least;
  losses[0] = most;
  for (const [i, step] of steps.entries()) {
    costs[i + 1] = costs[i]! + step.cost;
    losses[i + 1] = losses[i]! + step.loss;
  }
  const lossAt = (cost: number) => {
    let low = 0;
    let high = steps.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (costs[middle]! <= cost) low = middle;
      else high = middle - 1;
    }
    const step = steps[low];
    return step ? losses[low]! + ((cost - costs[low]!) * step.loss) / step.cost : losses[low]!;
  };
  return { least, lossAt };
}

/** States that no other beats in both. */
function undominated(states: State[]): State[] {
  states.sort((a, b) => a.cost - b.cost || a.loss - b.loss);
  let least = Number.POSITIVE_INFINITY;
  return states.filter(({ loss }) => {
    if (loss >= least) return false;
    least = loss;
    return true;
  });
}

function chosenOf(state: State, order: readonly number[]): number[] {
  const chosen: number[] = [];
  let at: State | undefined = state;
  for (let depth = order.length - 1; depth >= 0; depth--) {
    chosen[order[depth]!] = at!.choice!;
    at = at!.before;
  }
  return chosen;
}

/** Groups with most to decide first: bounds of the rest are then tight. */
function spread(front: readonly Point[]): number {
  return front.at(-1)!.cost - front[0]!.cost;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
