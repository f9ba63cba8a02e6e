/** A model after its rewrite, read tensor by tensor. */
import { modelTensors } from '../../model/tensors.ts';
import type { ModelSpec } from '../../model/types.ts';
import { applyOperations } from './operations.ts';
import type { ModelRewrite } from './types.ts';

/** What the model is after the rewrite: an untied head is a tensor of its own. */
export function rewrittenSpec(spec: ModelSpec, { untied }: ModelRewrite): ModelSpec {
  return untied ? { ...spec, tied: false } : spec;
}

/** The tensor of the source that a tensor of the rewritten model is made of. */
export function sourceTensor(name: string, { untied }: ModelRewrite): string {
  return untied?.tensor === name ? untied.from : name;
}

/**
 * A reader of whole tensors of the rewritten model.
 * @param read f32 [out, in] or [n] of the model as it was, by canonical name
 * @param clips whether limits are applied too, which changes the function (default false)
 */
export function rewrittenWeights(
  spec: ModelSpec,
  read: (name: string) => Promise<Float32Array>,
  rewrite: ModelRewrite,
  clips = false,
): (name: string) => Promise<Float32Array> {
  const shapes = new Map(modelTensors(rewrittenSpec(spec, rewrite)).map(({ name, shape }) => [name, shape]));
  const operations = clips ? [...rewrite.operations, ...rewrite.clips] : rewrite.operations;
  const changed = new Set(operations.map(({ tensor }) => tensor));
  return async (name) => {
    const values = await read(sourceTensor(name, rewrite));
    const shape = shapes.get(name);
    if (!shape || !changed.has(name)) return values;
    return applyOperations(values.slice(), { name, shape, from: 0, to: shape[0]! }, operations);
  };
}
