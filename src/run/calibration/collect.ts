/** Statistics of all inputs of a model, in one walk with its own weights. */
import { RecipeError } from '../../errors.ts';
import type { Model } from '../../format/types.ts';
import type { WeightReader } from '../../graph/index.ts';
import { type InputGroup, inputGroups, type ModelSpec } from '../../model/index.ts';
import type { StatisticKind, Statistics } from '../../quantize/statistics.ts';
import { runnableSpec } from '../language.ts';
import { weightReader } from '../weights.ts';
import { type Coverage, coverage, type InputCoverage, inputCoverage } from './coverage.ts';
import { openWalk, type WalkOptions } from './walk.ts';
import type { CalibrationWindows } from './windows.ts';

export interface CollectOptions extends Omit<WalkOptions, 'samples' | 'context'> {
  kinds: readonly StatisticKind[];
  /** First and last layer; default: all, and the head. */
  layers?: LayerRange;
  /** Called input by input, in the order of the model. */
  onStatistics: (group: InputGroup, statistics: Statistics) => Promise<void>;
}

export interface LayerRange {
  from: number;
  to: number;
}

/** Hessians that are summed up side by side: more of them, and the layer is passed several times. */
const hessianBytes = 512e6;

/** The layers looked at, each with its inputs; the head is layer `spec.layers`. @throws RecipeError for layers that are not there */
export function calibratedInputs(spec: ModelSpec, range?: LayerRange): { layer: number; groups: InputGroup[] }[] {
  const { from, to } = range ?? { from: 0, to: spec.layers };
  if (range && !(from >= 0 && from <= to && to < spec.layers))
    throw new RecipeError({ what: 'no such layers', value: `${from}-${to}`, limit: `0-${spec.layers - 1}` });
  return Array.from({ length: to - from + 1 }, (_, i) => ({ layer: from + i, groups: inputGroups(spec, from + i) }));
}

/**
 * Walks the windows through the model and hands over the statistics of each input as soon as they are complete.
 * @throws ModelError for a model that cannot be run, NumericError when activations are not finite
 */
export async function collectStatistics(model: Model, windows: CalibrationWindows, options: CollectOptions): Promise<Coverage> {
  const spec = runnableSpec(model);
  const { kinds, onStatistics, layers, ...walking } = options;
  const wanted = new Map(calibratedInputs(spec, layers).map(({ layer, groups }) => [layer, groups]));
  const last = Math.max(...wanted.keys());
  const { ids, samples, context } = windows;
  const inputs: InputCoverage[] = [];
  // Dead inputs are reported whatever is kept.
  const captured = [...new Set<StatisticKind>([...kinds, 'absmax'])];
  const hand = async (groups: readonly InputGroup[], all: readonly Statistics[]) => {
    for (const [i, group] of groups.entries()) {
      inputs.push(inputCoverage(group, all[i]!));
      await onStatistics(group, all[i]!);
    }
  };
  const reader = weightReader(model);
  try {
    const { online } = model;
    const walk = await openWalk(spec, reader, ids, { ...walking, ...(online && { online }), samples, context });
    try {
      for (let layer = 0; layer <= last; layer++) {
        const weights = remembered(reader);
        const bundles = bundled(wanted.get(layer) ?? [], kinds.includes('hessian'));
        const final = bundles.pop() ?? [];
        for (const groups of bundles) await hand(groups, await walk.capture(weights, groups, captured));
        await hand(final, await walk[layer < last ? 'captureAndAdvance' : 'capture'](weights, final, captured));
      }
    } finally {
      await walk.close();
    }
  } finally {
    await reader.close?.();
  }
  return coverage(spec, windows, inputs);
}

/** Reads each weight once. */
function remembered(reader: WeightReader): WeightReader {
  const held = new Map<string, Promise<Float32Array>>();
  return (name) => {
    const weight = held.get(name) ?? reader(name);
    held.set(name, weight);
    return weight;
  };
}

/** Inputs that are captured together: as many as their Hessians fit. */
function bundled(groups: readonly InputGroup[], hessians: boolean): InputGroup[][] {
  const bundles: InputGroup[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const group of groups) {
    const own = hessians ? 4 * group.width ** 2 : 0;
    if (bytes + own > hessianBytes) {
      bundles.push([]);
      bytes = 0;
    }
    bundles.at(-1)!.push(group);
    bytes += own;
  }
  return bundles;
}
