/** Methods by name: the only place where method names exist. */
import { RecipeError } from '../../errors.ts';
import { codebook, squeezellm } from './codebooks.ts';
import { mx, nvfp4 } from './floats.ts';
import { gptq } from './gptq.ts';
import { hqq } from './hqq.ts';
import { kv } from './kv.ts';
import { llmInt8 } from './llm-int8.ts';
import { rtn } from './rtn.ts';
import { sinq } from './sinq.ts';
import { binary, fp4, nf4, ternary } from './tables.ts';
import { awq, quarot, smoothquant } from './transforms.ts';
import type { Method } from './types.ts';
import { zeroquant } from './zeroquant.ts';

export const methods: Readonly<Record<string, Method>> = {
  rtn,
  gptq,
  awq,
  smoothquant,
  zeroquant,
  'llm-int8': llmInt8,
  quarot,
  nf4,
  fp4,
  hqq,
  sinq,
  codebook,
  squeezellm,
  ternary,
  binary,
  mx,
  nvfp4,
  kv,
};

/** @throws RecipeError for a method that does not exist. */
export function methodNamed(name: string): Method {
  const method = Object.hasOwn(methods, name) ? methods[name] : undefined;
  if (method) return method;
  throw new RecipeError({
    what: 'no such method',
    where: '--method',
    value: name,
    next: `choose one of ${Object.keys(methods).join(', ')}`,
  });
}
