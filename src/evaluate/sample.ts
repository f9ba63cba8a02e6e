/** Which token comes next, given the logits of one position. */

export interface SampleOptions {
  /** Divides the logits; 0 (default) takes the likeliest token. */
  temperature?: number;
  /** Samples among the likeliest tokens whose probabilities reach this sum together; default 1: among all. */
  topP?: number;
}

/** logits: [vocab] -> id; `random` gives numbers in [0, 1). */
export function sample(logits: Float32Array, { temperature = 0, topP = 1 }: SampleOptions, random: () => number): number {
  const top = likeliest(logits);
  if (temperature === 0) return top;
  // Weights relative to the top token's: the softmax without its division, since only ratios count below.
  const weights = Float64Array.from(logits, (x) => Math.exp((x - logits[top]!) / temperature));
  const total = weights.reduce((sum, w) => sum + w, 0);
  return topP >= 1 ? draw(weights, weights.keys(), total * random()) : drawFromNucleus(weights, total, topP * total, random);
}

/** The first of the largest. */
export function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id]! > logits[best]!) best = id;
  return best;
}

/** mass: the weight the nucleus has to reach. */
function drawFromNucleus(weights: Float64Array, total: number, mass: number, random: () => number): number {
  // All weights below this sum to less than total - mass: the nucleus holds none of them, and few are left to sort.
  const cutoff = (total - mass) / weights.length;
  const ids: number[] = [];
  for (let id = 0; id < weights.length; id++) if (weights[id]! >= cutoff) ids.push(id);
  ids.sort((a, b) => weights[b]! - weights[a]! || a - b);
  let held = 0;
  const nucleus: number[] = [];
  for (const id of ids) {
    nucleus.push(id);
    held += weights[id]!;
    if (held >= mass) break;
  }
  return draw(weights, nucleus, held * random());
}

/** The id where the running sum of weights passes `target`. */
function draw(weights: Float64Array, ids: Iterable<number>, target: number): number {
  let sum = 0;
  let last = 0;
  for (const id of ids) {
    if (weights[id]! === 0) continue;
    sum += weights[id]!;
    last = id;
    if (sum > target) return id;
  }
  return last;
}
