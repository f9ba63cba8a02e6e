import { RecipeError } from '../errors.ts';
import type { Model } from '../format/types.ts';

/** What llama.cpp's mixtures depend on, from the spec or, for an architecture we do not run, from the GGUF's own metadata. */
export function ggufFacts(model: Model): {
  architecture: string;
  layers: number;
  heads: number;
  kvHeads: number;
  experts: number;
} {
  const metadata = model.checkpoint.gguf;
  const text = metadata?.get('general.architecture');
  if (model.spec) {
    const { architecture, layers, heads, kvHeads } = model.spec;
    return {
      architecture: text?.type === 'string' ? text.value : architecture === 'mistral' ? 'llama' : architecture,
      layers,
      heads,
      kvHeads,
      experts: 0,
    };
  }
  if (model.checkpoint.config) {
    throw new RecipeError({
      what: 'a GGUF file needs an architecture that is known',
      where: model.name,
      value: model.checkpoint.config['model_type'],
      next: 'use --to fewbits with --bits, which needs no architecture',
    });
  }
  if (text?.type !== 'string') {
    throw new RecipeError({
      what: 'a GGUF file type mixes types by role, and this is a bag of tensors without an architecture',
      where: '--type',
      next: 'name a tensor type such as q4_k or q8_0',
    });
  }
  const count = (key: string): number => {
    const value = metadata?.get(`${text.value}.${key}`);
    if (value === undefined || value.type === 'string') return 0;
    const first =
      value.type === 'array' ? value.value.reduce((max, one) => (Number(one) > Number(max) ? one : max), 0) : value.value;
    return Number(first);
  };
  const heads = count('attention.head_count');
  return {
    architecture: text.value,
    layers: count('block_count'),
    heads,
    kvHeads: count('attention.head_count_kv') || heads,
    experts: count('expert_count'),
  };
}
