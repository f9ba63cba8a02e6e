/**
 * x ~ unit * level * value: blocks whose groups have scales only.
 *
 * Each group is fitted for itself and the unit to what the groups wish for. Then come rounds: every group tries the levels beside
 * its own, with the codes that are nearest under what is stored; the unit is fitted anew to levels and codes. The best round counts.
 */
import { reciprocal, wholeNumbers } from './grids.ref.ts';
import { fitScale, type ScaleSearch, stepSums } from './scale.ref.ts';
import { fitUnit, storedUnit, type UnitSearch } from './units.ref.ts';

const f = Math.fround;

export interface ScaledSearch {
  /** Values in a group. */
  group: number;
  scale: ScaleSearch;
  units: UnitSearch;
  rounds: number;
}

export interface ScaledLevels {
  unit: number;
  /** [groups] */
  levels: Float32Array;
}

/** x, w: [block] */
export function searchScaled(x: Float32Array, w: Float32Array, { group, scale, units, rounds }: ScaledSearch): ScaledLevels {
  const of = (values: Float32Array, g: number) => values.subarray(g * group, (g + 1) * group);
  const fits = Array.from({ length: x.length / group }, (_, g) => fitScale(of(x, g), of(w, g), scale));
  const wished = Float32Array.from(fits, (fit) => fit.scale);
  const curvature = Float32Array.from(fits, (fit) => fit.curvature);
  const { lowest, highest } = units;
  let unit = fitUnit(wished, curvature, units);
  const inverse = reciprocal(unit);
  const levels = wished.map((wish) => wholeNumbers(lowest, highest).nearest(f(wish * inverse)));

  let found = { unit, levels: levels.slice() };
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    let [error, product, square] = [0, 0, 0];
    for (let g = 0; g < levels.length; g++) {
      const own = levels[g]!;
      let best = stepSums(of(x, g), of(w, g), scale.grid, f(unit * own));
      for (const level of [own - 1, own + 1]) {
        if (level < lowest || level > highest) continue;
        const sums = stepSums(of(x, g), of(w, g), scale.grid, f(unit * level));
        if (!(sums.error < best.error)) continue;
        best = sums;
        levels[g] = level;
      }
      error += best.error;
      product += levels[g]! * best.lx;
      square += levels[g]! * levels[g]! * best.l2;
    }
    if (error < least) {
      least = error;
      found = { unit, levels: levels.slice() };
    }
    unit = storedUnit(product / square);
  }
  return found;
}
