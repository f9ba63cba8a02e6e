/**
 * The search for a scale with the values -1, 0 and 1: under given values the best scale is the weighted mean of the magnitudes that
 * are not 0, and loses less the larger (sum w |x|)^2 / sum w over them. Those of 20 starting scales compete.
 */
import type { Ternary } from '../ternary.ref.ts';
import { ratio } from './grids.ref.ts';
import { placeOf } from './scale.ref.ts';
import { storedUnit } from './units.ref.ts';

const f = Math.fround;

/** The largest magnitude in units of the starting scale: from ggml's choice to where one value in a hundred decides. */
const places = { from: 1, step: 0.5, count: 20 } as const;

/** x, w: [n]; the scale as f16 stores it. */
export function searchTernary(x: Float32Array, w: Float32Array): Ternary {
  const largest = x.reduce((max, v) => Math.max(max, Math.abs(v)), 0);
  let [scale, best] = [0, 0];
  for (let i = 0; i < places.count; i++) {
    const inverse = ratio(placeOf(places, i), largest);
    let [lx, l2] = [0, 0];
    x.forEach((v, j) => {
      const magnitude = Math.abs(v);
      if (!(f(magnitude * inverse) > 0.5)) return;
      lx = f(lx + f(w[j]! * magnitude));
      l2 = f(l2 + w[j]!);
    });
    if (!(l2 > 0 && f(lx * lx) > f(best * l2))) continue;
    scale = f(lx / l2);
    best = f(scale * lx);
  }
  const stored = storedUnit(scale);
  const half = stored / 2;
  return { scale: stored, trits: Uint8Array.from(x, (v) => (half > 0 && Math.abs(v) > half ? 1 + Math.sign(v) : 1)) };
}
