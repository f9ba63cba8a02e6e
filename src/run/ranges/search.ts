/**
 * Ranges by the loss of the whole model: coordinate descent over the tensors. All of them are quantized from the start, with the
 * limits of least squared error; then each in turn, layer by layer, takes the factor of these limits with which the model loses
 * less than with the factors beside it. A trial runs the layers from the changed one on.
 */
import { PairScorer } from '../../evaluate/divergence.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import type { ModelSpec } from '../../model/index.ts';
import type { IntegerScheme } from '../../quantize/scheme.ts';
import { roundTrip } from '../sensitivity/round-trip.ts';
import type { LayerStack, StackTokens } from './layer-stack.ts';

/** Of the limits of `mse`. */
const FACTORS: readonly number[] = [0.75, 0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2];
/** What the search starts from. */
const START = 1;

/** A tensor whose range is searched. */
export interface Coordinate {
  name: string;
  /** Undefined for an embedding and a head. */
  layer?: number;
  cols: number;
  scheme: IntegerScheme;
}

/** What was chosen for a tensor. */
export interface RangeRecord {
  tensor: string;
  factor: number;
  /**
   * Mean cross-entropy of the text's positions between the unquantized model's distribution and the quantized one's, less the entropy
   * of the former (nats): before and after the tensor was looked at.
   */
  loss: readonly [before: number, after: number];
}

export interface SearchParts {
  spec: ModelSpec;
  stack: LayerStack;
  kernels: Kernels;
  tokens: StackTokens;
  signal?: AbortSignal;
  onTensor?: (done: number, name: string) => void;
}

/** The scheme with its factor. */
export function withFactor(scheme: IntegerScheme, factor: number): IntegerScheme {
  return { ...scheme, rangeOptions: { ...scheme.rangeOptions, factor } };
}

/** @param sweeps over all tensors; each begins with what the one before has left */
export async function searchRanges(coordinates: readonly Coordinate[], parts: SearchParts, sweeps = 1): Promise<RangeRecord[]> {
  const { spec, stack, kernels, tokens, signal } = parts;
  const originals = new Map(coordinates.map(({ name }) => [name, stack.weights.get(name)!.slice()]));
  const lossOf = await lossAgainst(parts);
  const quantized = ({ name, cols, scheme }: Coordinate, factor: number) =>
    roundTrip(kernels, withFactor(scheme, factor), originals.get(name)!, cols, name);
  const place = ({ name }: Coordinate, values: Float32Array) => stack.weights.get(name)!.set(values);
  const chosen = new Map<string, RangeRecord>();
  for (const one of coordinates) place(one, quantized(one, START));
  let losses = await lossOf(0, stack.embed());
  let done = 0;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    let states = stack.embed();
    for (let layer = 0; layer <= spec.layers; layer++) {
      for (const one of coordinates.filter((each) => (each.layer ?? spec.layers) === layer)) {
        const before = mean(losses);
        const known = chosen.get(one.name);
        let factor = known?.factor ?? START;
        let best: Float32Array = stack.weights.get(one.name)!.slice();
        // A table that is also the head changes what is in front of the first layer.
        const lossNow = () => (one.name === EMBEDDING ? lossOf(0, stack.embed()) : lossOf(layer, states));
        // Down the ladder as long as the loss falls; where it never did, up.
        for (const way of [-1, 1]) {
          const start = factor;
          for (let at = FACTORS.indexOf(factor) + way; at in FACTORS; at += way) {
            signal?.throwIfAborted();
            const values = quantized(one, FACTORS[at]!);
            place(one, values);
            const found = await lossNow();
            if (!isLess(found, losses)) break;
            losses = found;
            factor = FACTORS[at]!;
            best = values;
          }
          if (factor !== start) break;
        }
        place(one, best);
        chosen.set(one.name, { tensor: one.name, factor, loss: [known?.loss[0] ?? before, mean(losses)] });
        parts.onTensor?.(++done / (sweeps * coordinates.length), one.name);
      }
      if (layer < spec.layers) states = await stack.through(layer, states);
    }
  }
  return coordinates.map(({ name }) => chosen.get(name)!);

  /** A function of the states in front of a layer: the KL of each position, against the weights as they are now. */
  async function lossAgainst({ stack }: SearchParts): Promise<(layer: number, states: Float32Array) => Promise<Float64Array>> {
    const states = stack.embed();
    const expected: Float32Array[] = [];
    for (let sample = 0; sample < tokens.samples; sample++) expected.push((await stack.logits(0, states, sample)).slice());
    return async (layer, current) => {
      const positions = tokens.context - 1;
      const all = new Float64Array(tokens.samples * positions);
      for (const [sample, reference] of expected.entries()) {
        const logits = await stack.logits(layer, current, sample);
        all.set(divergences(kernels, reference, logits, tokens, sample, spec.vocab), sample * positions);
      }
      return all;
    };
  }
}

const mean = (values: Float64Array) => values.reduce((sum, one) => sum + one, 0) / values.length;

/** Whether losses fall by more than the standard error of the differences: else it may be the text that speaks. */
function isLess(now: Float64Array, before: Float64Array): boolean {
  const differences = now.map((one, i) => before[i]! - one);
  const gain = mean(differences);
  const variance = mean(differences.map((one) => (one - gain) ** 2));
  return gain > Math.sqrt(variance / differences.length);
}

const EMBEDDING = 'model.embed_tokens.weight';

/** The KL of all positions but the last, [context - 1]. */
function divergences(
  kernels: Kernels,
  reference: Float32Array,
  logits: Float32Array,
  { ids, context }: StackTokens,
  sample: number,
  vocab: number,
): Float64Array {
  const mark = kernels.mark();
  try {
    const found = new Float64Array(context - 1);
    let at = 0;
    const rows = (all: Float32Array) => all.subarray(0, (context - 1) * vocab);
    const targets = ids.subarray(sample * context + 1, (sample + 1) * context);
    new PairScorer(kernels, vocab).score(rows(reference), rows(logits), targets, ({ kl }) => {
      found[at++] = kl;
    });
    return found;
  } finally {
    kernels.reset(mark);
  }
}
