/**
 * x ~ scale * code + min: scale and minimum of a group that lose least of sum w (x - scale * code - min)^2.
 *
 * All is counted from `base`, the lowest value, where the minimum must not be positive at most 0: with z = x - base and
 * min = base + offset, codes compete by what their least-squares fit takes away from sum w z^2. They are those of ranges laid on
 * places near the top code, from the base and from a little above it, then those of the best fit so far.
 */
import { ratio, reciprocal, wholeNumbers } from './grids.ref.ts';
import { type Places, placeOf } from './scale.ref.ts';

const f = Math.fround;

export interface AffineSearch {
  /** Largest code. */
  top: number;
  /** Where the highest value is put when the base is at 0. */
  places: Places;
  /** The same when the base is `cut` codes below 0. */
  cutPlaces: Places;
  cut: number;
  nonPositive?: boolean;
}

export interface AffineFit {
  scale: number;
  min: number;
  /** sum w, sum w x */
  w: number;
  wx: number;
  /** sum w code, sum w code^2 under the codes that gave the fit */
  l: number;
  l2: number;
}

/** x, w: [n] */
export function fitAffine(x: Float32Array, w: Float32Array, search: AffineSearch): AffineFit {
  const { top, places, cutPlaces, cut, nonPositive } = search;
  let low = x[0]!;
  let high = x[0]!;
  for (const v of x) {
    if (v < low) low = v;
    if (high < v) high = v;
  }
  const base = nonPositive && low > 0 ? 0 : low;
  const range = f(high - base);
  let [sumW, sumX, sumZ] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    sumW = f(sumW + w[i]!);
    sumX = f(sumX + f(w[i]! * x[i]!));
    sumZ = f(sumZ + f(w[i]! * f(x[i]! - base)));
  }
  const highest = nonPositive ? f(-base) : Number.POSITIVE_INFINITY;
  const grid = wholeNumbers(0, top);
  // Codes of 0 only: the mean.
  const mean = ratio(sumZ, sumW);
  let [scale, offset] = [0, Math.min(highest, mean)];
  let best = f(offset * f(f(sumZ + sumZ) - f(offset * sumW)));
  let [bestL, bestL2] = [0, 0];
  const consider = (inverse: number, from: number) => {
    let [l, l2, lz] = [0, 0, 0];
    for (let i = 0; i < x.length; i++) {
      const z = f(x[i]! - base);
      const code = grid.nearest(f(f(z - from) * inverse));
      const weighted = f(w[i]! * code);
      l = f(l + weighted);
      l2 = f(l2 + f(weighted * code));
      lz = f(lz + f(weighted * z));
    }
    const determinant = f(f(sumW * l2) - f(l * l));
    let s = f(f(f(sumW * lz) - f(sumZ * l)) / determinant);
    let o = f(f(f(l2 * sumZ) - f(l * lz)) / determinant);
    if (highest < o) {
      o = highest;
      s = f(f(lz - f(o * l)) / l2);
    }
    const ofScale = f(s * f(f(lz + lz) - f(f(s * l2) + f(f(o + o) * l))));
    const gain = f(ofScale + f(o * f(f(sumZ + sumZ) - f(o * sumW))));
    if (!(determinant > 0 && gain > best)) return;
    [scale, offset, best] = [s, o, gain];
    [bestL, bestL2] = [l, l2];
  };
  for (let i = 0; i < places.count; i++) consider(ratio(placeOf(places, i), range), 0);
  for (let i = 0; i < cutPlaces.count; i++) {
    const inverse = ratio(placeOf(cutPlaces, i), range);
    consider(inverse, ratio(cut, inverse));
  }
  consider(reciprocal(scale), offset);
  return { scale, min: f(base + offset), w: sumW, wx: sumX, l: bestL, l2: bestL2 };
}

export interface OffsetSums {
  /** sum w (step * code - offset - x)^2 */
  error: number;
  l: number;
  l2: number;
  lx: number;
}

/** The nearest codes under step and offset as they are stored. */
export function offsetSums(x: Float32Array, w: Float32Array, top: number, step: number, offset: number): OffsetSums {
  const inverse = reciprocal(step);
  const grid = wholeNumbers(0, top);
  const sums = { error: 0, l: 0, l2: 0, lx: 0 };
  for (let i = 0; i < x.length; i++) {
    const code = grid.nearest(f(f(x[i]! + offset) * inverse));
    const weighted = f(w[i]! * code);
    const difference = f(f(f(step * code) - offset) - x[i]!);
    sums.l = f(sums.l + weighted);
    sums.l2 = f(sums.l2 + f(weighted * code));
    sums.lx = f(sums.lx + f(weighted * x[i]!));
    sums.error = f(sums.error + f(f(w[i]! * difference) * difference));
  }
  return sums;
}
