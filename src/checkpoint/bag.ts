import type { ByteSource } from '../io/types.ts';
import { readSafetensors } from './safetensors/read.ts';
import type { Checkpoint } from './types.ts';

/** Opens a single safetensors file: tensors with names and nothing that says what they mean. */
export async function openBag(source: ByteSource, name: string): Promise<Checkpoint> {
  return { kind: 'safetensors', name, ...(await readSafetensors(source)), sidecars: [], close: () => source.close() };
}
