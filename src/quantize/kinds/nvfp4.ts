import { quantizeNvfp4 } from '../grid/nvfp4.ts';
import type { Nvfp4Scheme } from '../scheme.ts';
import { limitsOf } from './limits.ts';
import type { Kind } from './types.ts';

const BLOCK = 16;
/** The largest block scale: four over six needs room above the scale of the largest block (arXiv 2512.02010). */
const largestScale = { six: 448, 'four-over-six': 256, search: 256 } as const;

/** E2M1 in blocks of 16 under E4M3 under one f32 for the tensor. */
export const nvfp4: Kind<Nvfp4Scheme> = {
  needs: ({ weighted }) => (weighted ? ['meansquare'] : []),
  form: () => ({
    grid: { kind: 'minifloat', format: 'e2m1' },
    scale: { stored: 'e4m3', group: BLOCK, parent: { stored: 'f32', per: 'tensor' } },
  }),
  run: () => BLOCK,
  surveys: () => 'limits',
  survey: (x) => ({ limits: limitsOf(x) }),
  quantize: (x, place, { scale, weighted }, { meansquare }, { limits }) =>
    quantizeNvfp4(x, limits ? { ...place, survey: limits } : place, {
      scale,
      largestScale: largestScale[scale],
      ...(weighted && meansquare && { weights: meansquare }),
    }),
  stepLimit: () => undefined,
};
