import { ModelError } from '../errors.ts';
import type { Model } from '../format/types.ts';
import { type InputSchemes, type LanguageModel, loadLanguageModel } from '../graph/index.ts';
import { linearOf, type ModelSpec } from '../model/index.ts';
import { weightReader } from './weights.ts';

/**
 * A model that computes: its weights, dequantized if need be, run through the graph of its architecture; inputs that its container
 * says are quantized at run time are, rotations that it says stay are computed, keys and values are stored as it says.
 * @throws ModelError for a bag of tensors or an architecture that is not known.
 */
export async function languageModel(model: Model, options: { threads?: number } = {}): Promise<LanguageModel> {
  const inputs = inputSchemes(model);
  const { online, kv } = model;
  return loadLanguageModel(runnableSpec(model), weightReader(model), {
    ...options,
    ...(online && { rotations: online }),
    ...(inputs.size > 0 && { inputs }),
    ...(kv && { kv }),
  });
}

/** By module: a linear is called like its weight. */
function inputSchemes({ tensors }: Model): InputSchemes {
  return new Map(tensors.flatMap(({ name, input }) => (input ? [[linearOf(name), input]] : [])));
}

/** @throws ModelError for a bag of tensors or an architecture that is not known. */
export function runnableSpec(model: Model): ModelSpec {
  if (model.spec) return model.spec;
  throw new ModelError({
    what: 'this has no architecture that can be run',
    where: model.name,
    next: model.warnings[0] ?? 'give a model folder or a GGUF file; a bag of tensors can be quantized, inspected and verified',
  });
}
