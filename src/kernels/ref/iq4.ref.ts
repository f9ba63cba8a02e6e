/** What IQ4_NL and IQ4_XS share: the codebook and the search for the scale of 32 values (quantize_row_iq4_nl_impl, ntry 7). */
import { zeroBelow } from './k-common.ref.ts';
import { signedExtreme } from './search.ref.ts';

const f = Math.fround;

export const codebook = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] as const;

/** The code whose value is nearest to x, the upper one at equal distance; NaN ends at the top, as ggml's bisection does. */
function nearestCode(x: number): number {
  let code = 0;
  while (code < 15 && !(2 * x < codebook[code] + codebook[code + 1])) code++;
  return code;
}

/** The scale with which the codebook fits x best in weighted least squares: 16 grids around the extreme compete. */
export function codebookScale(x: Float32Array, weights: Float32Array): number {
  const extreme = signedExtreme(x);
  if (Math.abs(extreme) < zeroBelow) return 0;
  const sumsOf = (inverse: number) => {
    let [qx, q2] = [0, 0];
    x.forEach((v, j) => {
      const q = codebook[nearestCode(f(inverse * v))];
      const wq = f(weights[j] * q);
      qx = f(qx + f(wq * v));
      q2 = f(q2 + f(wq * q));
    });
    return { qx, q2 };
  };
  const first = sumsOf(f(1 / f(-extreme / codebook[0])));
  let scale = first.q2 > 0 ? f(first.qx / first.q2) : 0;
  let best = f(scale * first.qx);
  for (let step = -7; step <= 7; step++) {
    const { qx, q2 } = sumsOf(f((step + codebook[0]) / extreme));
    if (q2 > 0 && f(qx * qx) > f(best * q2)) {
      scale = f(qx / q2);
      best = f(scale * qx);
    }
  }
  return scale;
}

/** Codes [32] of x [32] under a scale; scale 0 gives the code of 0. */
export function codebookCodes(x: Float32Array, scale: number): Uint8Array {
  const inverse = scale !== 0 ? f(1 / scale) : 0;
  return Uint8Array.from(x, (v) => nearestCode(f(inverse * v)));
}
