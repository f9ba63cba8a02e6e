/** Wished levels under one f16 unit: the unit whose whole multiples are nearest to them in weighted squares. */
import { roundF16 } from '../../../numeric/f16.ts';
import { ratio, wholeNumbers } from './grids.ref.ts';
import { type Places, placeOf } from './scale.ref.ts';

const f = Math.fround;

export interface UnitSearch {
  /** Codes of the levels. */
  lowest: number;
  highest: number;
  /** Where the largest wish is put. */
  places: Places;
}

/** wished, weights: [groups]; the unit as f16 stores it, 0 where there is none. */
export function fitUnit(wished: Float32Array, weights: Float32Array, { lowest, highest, places }: UnitSearch): number {
  const grid = wholeNumbers(lowest, highest);
  let extreme = 0;
  for (const v of wished) if (Math.abs(v) > Math.abs(extreme)) extreme = v;
  let unit = 0;
  let best = 0;
  for (let i = 0; i < places.count; i++) {
    const inverse = ratio(placeOf(places, i), extreme);
    let product = 0;
    let square = 0;
    for (let g = 0; g < wished.length; g++) {
      const code = grid.nearest(f(wished[g]! * inverse));
      const weighted = f(weights[g]! * code);
      product = f(product + f(weighted * wished[g]!));
      square = f(square + f(weighted * code));
    }
    if (!(square > 0 && f(product * product) > f(best * square))) continue;
    unit = f(product / square);
    best = f(unit * product);
  }
  return storedUnit(unit);
}

/** The nearest finite f16. */
export function storedUnit(x: number): number {
  return roundF16(Math.max(-65504, Math.min(65504, x)));
}
