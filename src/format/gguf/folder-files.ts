/** What a Hugging Face folder needs besides the weights, made from GGUF metadata. */
import { readTensor } from '../../checkpoint/index.ts';
import type { Checkpoint } from '../../checkpoint/types.ts';
import { configOf, llama3ScalingOf, type ModelSpec, type Rope } from '../../model/index.ts';
import { toF32 } from '../../tensor/index.ts';
import { tokenizerFilesFromGguf } from '../../tokenizer/index.ts';
import type { FolderFiles } from '../types.ts';

/** @throws ModelError when config.json has no words for the model */
export async function ggufFolderFiles(checkpoint: Checkpoint, spec: ModelSpec): Promise<FolderFiles> {
  const { rope, warnings } = await withParameters(checkpoint, spec.rope);
  const tokenizer = tokenizerFilesFromGguf(checkpoint.gguf!);
  return {
    config: { ...configOf({ ...spec, rope }), ...tokenizer.config },
    texts: Object.entries(tokenizer.files).map(([name, json]) => ({ name, text: JSON.stringify(json, null, 2) })),
    warnings: [...warnings, ...tokenizer.warnings],
  };
}

/** GGUF files hold the factors of Llama 3's rope scaling, configurations the parameters they follow from. */
async function withParameters(checkpoint: Checkpoint, rope: Rope): Promise<{ rope: Rope; warnings: string[] }> {
  const entry = rope.scaling.kind === 'tensor' ? checkpoint.tensors.get(rope.scaling.name) : undefined;
  if (!entry) return { rope, warnings: [] };
  const { type, bytes } = await readTensor(entry);
  const scaling = llama3ScalingOf(rope, toF32(type, bytes));
  if (scaling) return { rope: { ...rope, scaling }, warnings: [] };
  return {
    rope: { ...rope, scaling: { kind: 'none' } },
    warnings: [
      `${entry.name} holds rope factors that config.json cannot say: past the original context the model computes otherwise`,
    ],
  };
}
