/** Scales moved downhill one at a time, slow and obvious. See kernels/assembly/scale_steps.ts. */
import type { DescentState } from './refine-math.ts';
import { moveMinima, multiplied, nearestScale, type SingleScales } from './single-scales.ts';

/** Group after group: each scale to the storable value nearest to its best one, where the loss falls. Scales keep their signs. */
export function stepScales(state: DescentState, hessian: Float32Array, storage: SingleScales): number {
  const { rows: quantized, gradient, decoded } = state;
  const { rows, cols, group, scales } = quantized;
  const groups = cols / group;
  const x = multiplied(quantized);
  let changed = 0;
  for (let g = 0; g < groups; g++) {
    for (let r = 0; r < rows; r++) {
      const first = r * cols + g * group;
      let slope = 0;
      let curvature = 0;
      for (let i = 0; i < group; i++) {
        slope += x[first + i]! * gradient[first + i]!;
        let sum = 0;
        for (let j = 0; j < group; j++) sum += hessian[(g * group + i) * cols + g * group + j]! * x[first + j]!;
        curvature += x[first + i]! * sum;
      }
      const scale = scales[r * groups + g]!;
      if (scale === 0 || !(curvature > 0)) continue;
      const moved = nearestScale(storage, r, scale - slope / curvature);
      const delta = moved - scale;
      if (!(moved * scale > 0) || !(delta * (delta * curvature + 2 * slope) < 0)) continue;
      scales[r * groups + g] = moved;
      for (let i = 0; i < group; i++) {
        const value = x[first + i]!;
        if (value === 0) continue;
        const step = Math.fround(Math.fround(delta) * value);
        decoded[first + i]! += step;
        for (let j = 0, h = (g * group + i) * cols; j < cols; j++, h++)
          gradient[r * cols + j]! += Math.fround(step * hessian[h]!);
      }
      changed++;
    }
  }
  moveMinima(quantized);
  return changed;
}
