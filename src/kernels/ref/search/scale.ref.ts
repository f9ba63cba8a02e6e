/**
 * x ~ scale * value: the scale of a group that loses least of sum w (x - scale * value)^2.
 *
 * With the scale fitted to given codes by least squares, the loss is sum w x^2 - lx^2 / l2: codes compete by lx^2 / l2. They are
 * those of scales that put the group's extreme at places on and near an end of the grid, then those of the best scale so far.
 */
import { type CodeGrid, ratio, reciprocal } from './grids.ref.ts';

const f = Math.fround;

/** Places from + i * step, i < count. */
export interface Places {
  from: number;
  step: number;
  count: number;
}

export function placeOf({ from, step }: Places, i: number): number {
  return f(f(from) + f(f(step) * i));
}

export interface ScaleSearch {
  grid: CodeGrid;
  /** Where the extreme is put, in units of the grid. */
  places: Places;
  /** At the other end too. */
  mirrored?: boolean;
}

export interface ScaleFit {
  scale: number;
  /** sum w value^2 under the codes that gave the scale. */
  curvature: number;
}

/** x, w: [n] */
export function fitScale(x: Float32Array, w: Float32Array, { grid, places, mirrored }: ScaleSearch): ScaleFit {
  let extreme = 0;
  for (const v of x) if (Math.abs(v) > Math.abs(extreme)) extreme = v;
  const found = { scale: 0, curvature: 0 };
  let best = 0;
  const consider = (inverse: number) => {
    const { lx, l2 } = codeSums(x, w, grid, inverse);
    if (!(l2 > 0 && f(lx * lx) > f(best * l2))) return;
    found.scale = f(lx / l2);
    found.curvature = l2;
    best = f(found.scale * lx);
  };
  for (let i = 0; i < places.count; i++) {
    consider(ratio(placeOf(places, i), extreme));
    if (mirrored) consider(ratio(-placeOf(places, i), extreme));
  }
  consider(reciprocal(found.scale));
  return found;
}

/** sum w x value and sum w value^2 of the nearest codes, in order. */
function codeSums(x: Float32Array, w: Float32Array, grid: CodeGrid, inverse: number): { lx: number; l2: number } {
  let lx = 0;
  let l2 = 0;
  for (let i = 0; i < x.length; i++) {
    const value = grid.nearest(f(inverse * x[i]!));
    const weighted = f(w[i]! * value);
    lx = f(lx + f(weighted * x[i]!));
    l2 = f(l2 + f(weighted * value));
  }
  return { lx, l2 };
}

export interface StepSums {
  /** sum w (step * value - x)^2 */
  error: number;
  lx: number;
  l2: number;
}

/** The nearest codes under a step as it is stored. */
export function stepSums(x: Float32Array, w: Float32Array, grid: CodeGrid, step: number): StepSums {
  const inverse = reciprocal(step);
  const sums = { error: 0, lx: 0, l2: 0 };
  for (let i = 0; i < x.length; i++) {
    const value = grid.nearest(f(inverse * x[i]!));
    const weighted = f(w[i]! * value);
    const difference = f(f(step * value) - x[i]!);
    sums.lx = f(sums.lx + f(weighted * x[i]!));
    sums.l2 = f(sums.l2 + f(weighted * value));
    sums.error = f(sums.error + f(f(w[i]! * difference) * difference));
  }
  return sums;
}
