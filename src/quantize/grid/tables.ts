/** Grids that are lists of values, by name. Codes are places in the list, and not always in order of value. */
import { RecipeError } from '../../errors.ts';
import { type MinifloatName, minifloats } from '../../numeric/minifloat.ts';
import type { Grid } from '../../quantized/types.ts';

/** bitsandbytes normalizes its 4-bit float by the largest value, 12. Source: functional.get_4bit_type (0.50.2, MIT). */
const fp4 = [0, 0.0625, 8, 12, 4, 6, 2, 3].map((magnitude) => magnitude / 12);

export const valueTables = {
  binary: [-1, 1],
  ternary: [-1, 0, 1],
  /** Quantiles of a gaussian on both sides of an exact 0 (QLoRA, arXiv 2305.14314, section 3); the f32 values of bitsandbytes. */
  nf4: [
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
  ],
  /** The code is sign, then a magnitude that does not rise with the code. Not E2M1. */
  fp4: [...fp4, ...fp4.map((value) => -value)],
} as const satisfies Record<string, readonly number[]>;

export type TableName = keyof typeof valueTables | MinifloatName;

/** A grid of single values that one list describes: by name, or the values of its codes. At most 65,536. */
export function scalarGrid(table: TableName | ArrayLike<number>): Grid {
  if (typeof table !== 'string') return listed(Float32Array.from(table));
  if (Object.hasOwn(valueTables, table)) return listed(Float32Array.from(valueTables[table as keyof typeof valueTables]));
  if (Object.hasOwn(minifloats, table)) return { kind: 'minifloat', format: table };
  const known = [...Object.keys(valueTables), ...Object.keys(minifloats)].join(', ');
  throw new RecipeError({ what: 'there is no such grid', value: table, next: `choose one of ${known}, or give the values` });
}

function listed(values: Float32Array): Grid {
  if (values.length < 2 || values.length > 65536 || values.some((value) => !Number.isFinite(value))) {
    throw new RecipeError({
      what: 'a grid needs 2 to 65,536 finite values',
      value: values.length,
      next: 'give one value for each code',
    });
  }
  return { kind: 'codebook', values, dim: 1, per: { rows: 0, cols: 0 } };
}
