import { quantizeBlockFloat } from '../grid/block-float.ts';
import type { MxScheme } from '../scheme.ts';
import type { Kind } from './types.ts';

const BLOCK = 32;

/** Blocks of minifloats under a power of two (OCP Microscaling Formats 1.0). */
export const mx: Kind<MxScheme> = {
  needs: () => [],
  form: ({ element }) => ({ grid: { kind: 'minifloat', format: element }, scale: { stored: 'e8m0', group: BLOCK } }),
  run: () => BLOCK,
  surveys: () => undefined,
  survey: () => ({}),
  quantize: (x, place, { element, exponent }, { meansquare }) =>
    quantizeBlockFloat(x, place, { format: element, exponent, block: BLOCK, ...(meansquare && { weights: meansquare }) }),
  stepLimit: () => undefined,
};
