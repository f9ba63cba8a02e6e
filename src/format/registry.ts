import { compressedTensors } from './compressed-tensors/container.ts';
import { fewbits } from './fewbits/container.ts';
import { gguf } from './gguf/container.ts';
import { gptq } from './gptq/container.ts';
import { safetensors } from './safetensors/container.ts';
import type { Container, ContainerName } from './types.ts';

/** Every container that can be written. A new one is a folder beside this file and a row here. */
export const containers: Readonly<Record<ContainerName, Container>> = {
  gguf,
  fewbits,
  safetensors,
  gptq,
  'compressed-tensors': compressedTensors,
};
