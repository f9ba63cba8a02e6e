import { quantizeBlockFloat } from '../grid/block-float.ts';
import type { MxScheme } from '../scheme.ts';
import type { Kind } from './types.ts';

const BLOCK = 32;

/** Blocks of minifloats under a power of two (OCP Microscaling Formats 1.0). */
export const mx: Kind<MxScheme> = {
  needs: ({ weighted }) => (weighted ? ['meansquare'] : []),
  form: ({ element }) => ({ grid: { kind: 'minifloat', format: element }, scale: { stored: 'e8m0', group: BLOCK } }),
  run: () => BLOCK,
  surveys: () => undefined,
  survey: () => ({}),
  quantize: (x, place, { element, exponent, weighted }, { meansquare }) => {
    const weights = weighted && meansquare ? { weights: meansquare } : {};
    return quantizeBlockFloat(x, place, { format: element, exponent, block: BLOCK, ...weights });
  },
  stepLimit: () => undefined,
};
