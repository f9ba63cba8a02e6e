import { RecipeError } from '../../errors.ts';

/** The integers [qMin, qMax]. A stored code is `q - qMin`, so code 0 of a signed grid is -2^(bits - 1). */
export interface IntegerGrid {
  /** 'int4', 'uint4' */
  readonly name: string;
  readonly bits: number;
  readonly signed: boolean;
  readonly qMin: number;
  readonly qMax: number;
  /** 2^(bits - 1): an exponentiation for every group would cost more than the rest of its scale. */
  readonly half: number;
}

/** A grid of 1 to 8 bits; RecipeError for other widths. */
export function integerGrid(bits: number, signed: boolean): IntegerGrid {
  if (!Number.isInteger(bits) || bits < 1 || bits > 8) {
    throw new RecipeError({ what: 'an integer grid of this width does not exist', value: bits, limit: '1..8 bits' });
  }
  const half = 2 ** (bits - 1);
  const qMin = signed ? -half : 0;
  return { name: `${signed ? 'int' : 'uint'}${bits}`, bits, signed, qMin, qMax: qMin + 2 * half - 1, half };
}
