import { ModelError } from '../errors.ts';
import type { Model } from '../format/types.ts';
import { type LanguageModel, loadLanguageModel } from '../graph/index.ts';
import type { ModelSpec } from '../model/index.ts';
import { weightReader } from './weights.ts';

/**
 * A model that computes: its weights, dequantized if need be, run through the graph of its architecture.
 * @throws ModelError for a bag of tensors or an architecture that is not known.
 */
export async function languageModel(model: Model, options: { threads?: number } = {}): Promise<LanguageModel> {
  return loadLanguageModel(runnableSpec(model), weightReader(model), options);
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
