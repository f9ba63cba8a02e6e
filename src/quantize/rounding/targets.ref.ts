/** Corrected targets as their formula has them, by Gauss's elimination in f64 on the whole matrix. */

/** X of X M = B. b: [rows, n], m: [n, n] symmetric */
export function solveSymmetric(b: Float64Array, m: Float64Array, n: number): Float64Array {
  const rows = b.length / n;
  // M X' = B', [n, n + rows]
  const width = n + rows;
  const system = Float64Array.from({ length: n * width }, (_, at) => {
    const [i, j] = [Math.floor(at / width), at % width];
    return j < n ? m[i * n + j]! : b[(j - n) * n + i]!;
  });
  for (let pivot = 0; pivot < n; pivot++) {
    for (let i = 0; i < n; i++) {
      if (i === pivot) continue;
      const factor = system[i * width + pivot]! / system[pivot * width + pivot]!;
      for (let j = pivot; j < width; j++) system[i * width + j]! -= factor * system[pivot * width + j]!;
    }
  }
  return b.map((_, at) => {
    const [row, i] = [Math.floor(at / n), at % n];
    return system[i * width + n + row]! / system[i * width + i]!;
  });
}

/**
 * W + (W D + share E) (H + damp mean(diag(H)))^-1, H with dead inputs repaired.
 * @param w [rows, n]
 * @param d [n, n]
 * @param e [rows, n]
 * @param hessian [n, n]
 */
export function targetsOf(
  w: Float32Array,
  d: Float32Array,
  e: Float32Array,
  hessian: Float32Array,
  n: number,
  damp: number,
  share: number,
): Float64Array {
  const m = Float64Array.from(hessian);
  for (let i = 0; i < n; i++) m[i * n + i]! ||= 1;
  let trace = 0;
  for (let i = 0; i < n; i++) trace += m[i * n + i]!;
  for (let i = 0; i < n; i++) m[i * n + i]! += (damp * trace) / n;
  const b = Float64Array.from(w, (_, at) => {
    const [row, column] = [Math.floor(at / n), at % n];
    let sum = share * e[at]!;
    for (let k = 0; k < n; k++) sum += w[row * n + k]! * d[k * n + column]!;
    return sum;
  });
  return solveSymmetric(b, m, n).map((x, at) => x + w[at]!);
}
