/** A rewrite carried out: on all weights of a model, and at run time in the slow Llama. */
import { modelTensors } from '../../model/tensors.ts';
import type { ModelSpec } from '../../model/types.ts';
import type { Hooks, Weights } from './llama.fixture.ts';
import { applyOperations, rowsTogether } from './operations.ts';
import { applyStrided, rotator } from './rotation.ts';
import type { ModelRewrite, OnlineRotation } from './types.ts';

/** The weights after the rewrite, in tiles as small as its operations allow. */
export function rewriteWeights(
  spec: ModelSpec,
  weights: Weights,
  { operations, clips, untied }: ModelRewrite,
): Map<string, Float32Array> {
  const out = new Map<string, Float32Array>();
  for (const { name, shape, role } of modelTensors({ ...spec, tied: spec.tied && !untied })) {
    if (role === 'rope') continue;
    const source = weights.get(untied?.tensor === name ? untied.from : name)!;
    const values = source.slice();
    const [rows, cols] = [shape[0]!, shape[1] ?? 1];
    const step = Math.min(rows, rowsTogether(name, operations) * 3);
    for (let from = 0; from < rows; from += step) {
      const to = Math.min(rows, from + step);
      applyOperations(values.subarray(from * cols, to * cols), { name, shape, from, to }, [...operations, ...clips]);
    }
    out.set(name, values);
  }
  return out;
}

/** What stays in the model, as hooks. */
export function runtimeHooks(online: readonly OnlineRotation[]): Hooks {
  return {
    input(linear, x) {
      for (const one of online)
        if (one.at === 'input' && one.linear === linear) applyStrided(rotator(one.rotation), x, one.stride ?? 1);
    },
    queryKey(layer, q, k) {
      for (const one of online) {
        if (one.at !== 'queryKey' || one.layer !== layer) continue;
        const { apply } = rotator(one.rotation);
        apply(q);
        apply(k);
      }
    },
  };
}
