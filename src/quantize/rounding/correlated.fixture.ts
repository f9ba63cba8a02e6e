import { Random } from '../../numeric/random.ts';
import type { LeveledRows } from './leveled-rows.ts';

/** Mean of x x' over inputs that share a few strong directions, [cols, cols]. */
export function correlatedHessian(cols: number, seed: number, tokens = 4 * cols): Float32Array {
  const random = new Random(seed);
  const mixing = Float32Array.from({ length: 4 * cols }, () => random.gaussian());
  const sums = new Float64Array(cols * cols);
  for (let t = 0; t < tokens; t++) {
    const shared = Array.from({ length: 4 }, () => random.gaussian());
    const x = Array.from({ length: cols }, (_, c) =>
      shared.reduce((sum, v, k) => sum + v * mixing[k * cols + c], random.gaussian()),
    );
    for (let i = 0; i < cols; i++) for (let j = 0; j < cols; j++) sums[i * cols + j] += (x[i] * x[j]) / tokens;
  }
  return Float32Array.from(sums);
}

/** Rows of gaussian weights and their nearest codes on a signed grid of 16 values, with or without minima. */
export function roundedRows(
  rows: number,
  cols: number,
  group: number,
  seed: number,
  mins = false,
): { w: Float32Array; q: LeveledRows } {
  const random = new Random(seed);
  const w = Float32Array.from({ length: rows * cols }, () => 0.02 * random.gaussian());
  const values = Float32Array.from({ length: 16 }, (_, code) => (mins ? code : code - 8));
  const levels = (rows * cols) / group;
  const scales = Float32Array.from({ length: levels }, () => 0.006 * (0.8 + 0.4 * random.uniform()));
  const minima = Float32Array.from({ length: levels }, () => -0.05 * (0.8 + 0.4 * random.uniform()));
  const codes = Uint8Array.from(w, (x, i) => {
    const g = Math.floor(i / group);
    return Math.max(0, Math.min(15, Math.round((x - (mins ? minima[g] : 0)) / scales[g] - values[0])));
  });
  return { w, q: { rows, cols, group, codes, values, scales, ...(mins ? { mins: minima } : {}) } };
}

/** The Hessian of inputs of which a few are large and neighbours alike, symmetric to the bit. [cols, cols] */
export function correlated(cols: number, seed: number): Float32Array {
  const random = new Random(seed);
  const tokens = cols + 50;
  const x = new Float64Array(tokens * cols);
  const gain = Array.from({ length: cols }, () => Math.exp(0.7 * random.gaussian()));
  for (let t = 0; t < tokens; t++) {
    let last = 0;
    for (let c = 0; c < cols; c++) {
      last = 0.8 * last + 0.6 * random.gaussian();
      x[t * cols + c] = last * gain[c]!;
    }
  }
  const h = new Float32Array(cols * cols);
  for (let i = 0; i < cols; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let t = 0; t < tokens; t++) sum += x[t * cols + i]! * x[t * cols + j]!;
      h[i * cols + j] = h[j * cols + i] = sum / tokens;
    }
  }
  return h;
}
