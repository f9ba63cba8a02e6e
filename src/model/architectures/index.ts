import { ModelError } from '../../errors.ts';
import type { Architecture } from '../architecture.ts';
import { llama } from './llama.ts';
import { mistral } from './mistral.ts';
import { qwen2 } from './qwen2.ts';
import { qwen3 } from './qwen3.ts';

/** All architectures that fewbits knows. Where several share a GGUF name, the first is what such a file is read as. */
export const architectures: readonly Architecture[] = [llama, mistral, qwen2, qwen3];

/** @throws ModelError for a name that is not in the table. */
export function architectureOf(name: string): Architecture {
  return architectures.find((a) => a.name === name) ?? unknownArchitecture(name, 'architecture');
}

export function unknownArchitecture(value: unknown, where: string): never {
  throw new ModelError({
    what: 'unknown architecture',
    where,
    value: value ?? 'nothing',
    next:
      `known are ${architectures.map((a) => a.name).join(', ')}; ` +
      'its tensors can still be quantized and compared as a bag of tensors, without perplexity, calibration or model-aware choices',
  });
}
