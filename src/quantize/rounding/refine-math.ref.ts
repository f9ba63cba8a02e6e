/** The steps of refinement, slow and obvious. */
import type { LeveledRows, SymmetricProduct } from './leveled-rows.ts';
import type { DescentState, GroupSums, RefineMath } from './refine-math.ts';

/** Sums in f64. */
const product: SymmetricProduct = (a, h, k) => {
  const out = new Float32Array(a.length);
  const sums = new Float64Array(k);
  for (let from = 0; from < a.length; from += k) {
    sums.fill(0);
    for (let i = 0; i < k; i++) {
      const x = a[from + i];
      if (x === 0) continue;
      for (let j = 0, at = i * k; j < k; j++, at++) sums[j] += x * h[at];
    }
    out.set(sums, from);
  }
  return out;
};

function sweep({ rows: quantized, gradient, decoded }: DescentState, hessian: Float32Array): number {
  const { rows, cols, group, codes, values, scales, mins } = quantized;
  let changed = 0;
  for (let k = 0; k < cols; k++) {
    const curvature = hessian[k * cols + k];
    for (let r = 0, at = k; r < rows; r++, at += cols) {
      const slope = gradient[at];
      const g = Math.floor(at / group);
      const scale = scales[g];
      if (scale === 0 || slope === 0) continue;
      const min = mins ? mins[g] : 0;
      // Downhill in x; a negative scale turns the order of the codes.
      const step = slope < 0 === scale > 0 ? 1 : -1;
      let code = codes[at];
      let delta = 0;
      let gain = 0;
      for (let next = code + step; next >= 0 && next < values.length; next += step) {
        const moved = Math.fround(Math.fround(scale * values[next]) + min) - decoded[at];
        const change = moved * (moved * curvature + 2 * slope);
        if (!(change < gain)) break;
        gain = change;
        delta = moved;
        code = next;
      }
      if (delta === 0) continue;
      codes[at] = code;
      decoded[at] += delta;
      changed++;
      for (let j = r * cols, h = k * cols, end = j + cols; j < end; j++, h++) gradient[j] += delta * hessian[h];
    }
  }
  return changed;
}

function groupSums(
  { cols, group, codes, values, mins }: LeveledRows,
  hessian: Float32Array,
  from: number,
  to: number,
): GroupSums {
  const groups = cols / group;
  const scaled = new Float64Array((to - from) * groups * groups);
  const plain = new Float64Array(mins ? scaled.length : 0);
  for (let r = 0; r < to - from; r++) {
    const x = Float64Array.from(codes.subarray((from + r) * cols, (from + r + 1) * cols), (code) => values[code]);
    for (let i = 0; i < cols; i++) {
      const g = Math.floor(i / group);
      for (let h = 0, j = 0, at = i * cols; h < (mins ? groups : g + 1); h++) {
        let sum = 0;
        for (const end = j + group; j < end; j++, at++) sum += hessian[at] * x[j];
        const to = (r * groups + g) * groups + h;
        scaled[to] += x[i] * sum;
        if (mins) plain[to] += sum;
      }
    }
  }
  return { scaled, ...(mins ? { plain } : {}) };
}

export const slowMath: RefineMath = { product, sweep, groupSums };
