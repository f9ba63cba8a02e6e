/**
 * x ~ unit * level * code - minUnit * min: super-blocks whose groups have scales and minima.
 *
 * As scaled-block.ref.ts, but a group tries its level and those beside it together with the two minima around the one that its
 * codes wish for, and both units are fitted anew at once.
 */
import { type AffineSearch, fitAffine, offsetSums } from './affine.ref.ts';
import { ratio, reciprocal, wholeNumbers } from './grids.ref.ts';
import { fitUnit, storedUnit, type UnitSearch } from './units.ref.ts';

const f = Math.fround;

export interface AffineBlockSearch {
  group: number;
  affine: AffineSearch;
  /** For scales and for minima. */
  units: UnitSearch;
  rounds: number;
}

export interface AffineLevels {
  unit: number;
  minUnit: number;
  /** [groups] */
  levels: Float32Array;
  mins: Float32Array;
}

/** x, w: [block] */
export function searchAffineBlock(x: Float32Array, w: Float32Array, search: AffineBlockSearch): AffineLevels {
  const { group, affine, units, rounds } = search;
  const of = (values: Float32Array, g: number) => values.subarray(g * group, (g + 1) * group);
  const fits = Array.from({ length: x.length / group }, (_, g) => fitAffine(of(x, g), of(w, g), affine));
  const grid = wholeNumbers(units.lowest, units.highest);
  const codes = (wished: Float32Array, inverse: number) => wished.map((wish) => grid.nearest(f(wish * inverse)));
  const wished = Float32Array.from(fits, ({ scale }) => scale);
  const sumW = Float32Array.from(fits, (fit) => fit.w);
  // What an error of the scale costs when the minimum makes up for as much of it as it can.
  const curvature = Float32Array.from(fits, ({ w, l, l2 }) => f(l2 - ratio(f(l * l), w)));
  let unit = fitUnit(wished, curvature, units);
  const levels = codes(wished, reciprocal(unit));
  /** The minimum that codes of group g with the sum l wish for under a step. */
  const wishedMin = (g: number, step: number, l: number) => {
    return Math.max(0, ratio(f(f(step * l) - fits[g]!.wx), sumW[g]!));
  };
  const wishedMins = Float32Array.from(fits, ({ l }, g) => wishedMin(g, f(unit * levels[g]!), l));
  let minUnit = fitUnit(wishedMins, sumW, units);
  const mins = codes(wishedMins, reciprocal(minUnit));

  const stored = () => ({ unit, minUnit, levels: levels.slice(), mins: mins.slice() });
  let found = stored();
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const inverse = reciprocal(minUnit);
    let error = 0;
    let [aa, am, mm, ax, mx] = [0, 0, 0, 0, 0];
    for (let g = 0; g < levels.length; g++) {
      const [xs, ws] = [of(x, g), of(w, g)];
      const own = levels[g]!;
      let best = offsetSums(xs, ws, affine.top, f(unit * own), f(minUnit * mins[g]!));
      const { l } = best;
      for (const level of [own - 1, own, own + 1]) {
        const wish = Math.floor(f(wishedMin(g, f(unit * level), l) * inverse));
        for (const min of [wish, wish + 1].map((m) => grid.nearest(m))) {
          if (level < units.lowest || level > units.highest) continue;
          const sums = offsetSums(xs, ws, affine.top, f(unit * level), f(minUnit * min));
          if (!(sums.error < best.error)) continue;
          best = sums;
          levels[g] = level;
          mins[g] = min;
        }
      }
      const [a, m] = [levels[g]!, mins[g]!];
      error += best.error;
      aa += a * a * best.l2;
      am += a * m * best.l;
      mm += m * m * sumW[g]!;
      ax += a * best.lx;
      mx += m * fits[g]!.wx;
    }
    if (error < least) {
      least = error;
      found = stored();
    }
    const determinant = aa * mm - am * am;
    const both = determinant > 0;
    unit = storedUnit(both ? (ax * mm - mx * am) / determinant : ax / aa);
    if (both) minUnit = storedUnit((ax * am - mx * aa) / determinant);
  }
  return found;
}
