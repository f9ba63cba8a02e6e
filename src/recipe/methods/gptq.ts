import { defaultRounding } from '../schema.ts';
import { integerBits, integers } from './integers.ts';
import type { Method } from './types.ts';

export const gptq: Method = {
  description: 'round column by column and spread each error over the columns that follow, by the Hessian of the inputs',
  source: 'Frantar et al., GPTQ, arXiv 2210.17323, section 3',
  container: 'gptq',
  bits: integerBits,
  group: 128,
  takes: ['group', 'symmetric', 'range', 'type'],
  scheme: integers,
  searches: 'mse',
  rounding: defaultRounding,
};
