/** What each kind of scheme does: one row a kind. */
import type { WeightScheme } from '../scheme.ts';
import { codebook } from './codebook.ts';
import { integer } from './integer.ts';
import { mx } from './mx.ts';
import { nvfp4 } from './nvfp4.ts';
import { table } from './table.ts';
import type { Kind } from './types.ts';

const kinds: { readonly [K in WeightScheme['kind']]: Kind<Extract<WeightScheme, { kind: K }>> } = {
  integer,
  table,
  mx,
  nvfp4,
  codebook,
};

export function kindOf<S extends WeightScheme>(scheme: S): Kind<S> {
  return kinds[scheme.kind] as unknown as Kind<S>;
}
