/** What errors of a weight count, by what its inputs are like: e becomes e M, so that |e M|² is what the output loses. */
import { NumericError, RecipeError } from '../../errors.ts';

/** meansquare: [cols], E[input²] of each column; hessian: [cols, cols], E[input input'], with a share of its mean diagonal added. */
export type InputWeighting = { meansquare: Float32Array } | { hessian: Float32Array; damp?: number };

export interface Weighting {
  /** x M in place, [rows, cols]; returns x. */
  apply(x: Float64Array, rows: number): Float64Array;
  /** x M^-1 in place, [rows, cols]; columns that count nothing become 0. */
  undo(x: Float64Array, rows: number): Float64Array;
}

const DAMP = 0.01;

/** @throws NumericError for a Hessian that is not positive definite, RecipeError for another width */
export function weightingOf(inputs: InputWeighting | undefined, cols: number, name: string): Weighting {
  if (!inputs) return { apply: (x) => x, undo: (x) => x };
  const isDiagonal = 'meansquare' in inputs;
  const given = isDiagonal ? inputs.meansquare.length : inputs.hessian.length;
  const needed = isDiagonal ? cols : cols * cols;
  if (given !== needed) {
    throw new RecipeError({ what: 'statistics of an input of another width', where: name, value: given, limit: needed });
  }
  return isDiagonal ? diagonal(inputs.meansquare, name) : full(inputs.hessian, inputs.damp ?? DAMP, cols, name);
}

function diagonal(meansquare: Float32Array, name: string): Weighting {
  const wrong = meansquare.findIndex((h) => !(h >= 0 && Number.isFinite(h)));
  if (wrong >= 0) throw new NumericError({ what: 'not a mean square', where: name, value: `${meansquare[wrong]}` });
  const root = Float64Array.from(meansquare, Math.sqrt);
  const inverse = root.map((r) => (r > 0 ? 1 / r : 0));
  const by = (factor: Float64Array) => (x: Float64Array) => {
    for (let i = 0; i < x.length; i++) x[i]! *= factor[i % factor.length]!;
    return x;
  };
  return { apply: by(root), undo: by(inverse) };
}

/** H + damp = L L', and |e L|² = e H e'. */
function full(hessian: Float32Array, damp: number, cols: number, name: string): Weighting {
  const l = cholesky(hessian, damp, cols, name);
  const product = new Float64Array(cols);
  return {
    apply(x, rows) {
      for (let row = 0; row < rows; row++) {
        const line = x.subarray(row * cols, (row + 1) * cols);
        product.fill(0);
        for (let i = 0; i < cols; i++) {
          const value = line[i]!;
          for (let j = 0, at = i * cols; j <= i; j++, at++) product[j]! += value * l[at]!;
        }
        line.set(product);
      }
      return x;
    },
    undo(x, rows) {
      for (let row = 0; row < rows; row++) {
        const line = x.subarray(row * cols, (row + 1) * cols);
        for (let j = cols - 1; j >= 0; j--) {
          const value = line[j]! / l[j * cols + j]!;
          line[j] = value;
          for (let i = 0; i < j; i++) line[i]! -= value * l[j * cols + i]!;
        }
      }
      return x;
    },
  };
}

/** L [n, n], lower. */
function cholesky(hessian: Float32Array, damp: number, n: number, name: string): Float64Array {
  let mean = 0;
  for (let i = 0; i < n; i++) mean += hessian[i * n + i]! / n;
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = hessian[i * n + j]! + (i === j ? damp * mean : 0);
      for (let k = 0; k < j; k++) sum -= l[i * n + k]! * l[j * n + k]!;
      if (i !== j) {
        l[i * n + j] = sum / l[j * n + j]!;
        continue;
      }
      if (!(sum > 0 && Number.isFinite(sum))) {
        const next = 'calibrate with more tokens, or raise the damp';
        throw new NumericError({ what: 'the Hessian is not positive definite', where: name, value: `${sum}`, next });
      }
      l[i * n + i] = Math.sqrt(sum);
    }
  }
  return l;
}
