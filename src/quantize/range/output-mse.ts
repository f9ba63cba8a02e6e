import { baseOf } from './base.ts';
import { describeRatios, differences, searchClip } from './clip-search.ts';
import { demanded } from './inputs.ts';
import { extremes } from './minmax.ts';
import type { Range } from './types.ts';

/**
 * Shrinks both limits by the ratio of least e H e', e = x - x̂, H = E[input input']: the squared error that the group leaves in the
 * layer's output. Of rows longer than a block only the blocks on the diagonal count.
 */
export const outputMse: Range = {
  name: 'output-mse',
  schemes: 'both',
  options: ['steps', 'base'],
  needs: ['hessian'],
  describe(context) {
    const what = `limits r min, r max with the r of least (x - x̂) H (x - x̂)', ${describeRatios(context.options)}`;
    return `${what}; ${baseOf(context).describe(context)}`;
  },
  limits(values, from, to, context) {
    const { size, values: blocks } = demanded(context.inputs?.blocks, 'output-mse', 'hessian');
    const difference = new Float64Array(size);
    return searchClip(extremes(values, from, to), context, (step, least) => {
      let error = 0;
      for (let at = from; at < to && error < least; at += size) {
        differences(values, at, at + size, step, context, difference);
        // Columns [at, at + size) of a row; those of the next row meet the same blocks.
        error += quadraticForm(blocks, (at * size) % blocks.length, difference);
      }
      return Math.max(0, error);
    });
  },
  scale: (limits, context) => baseOf(context).scale(limits, context),
};

/** e H e' of the symmetric matrix [n, n] at h[at], from its lower half: Σ e_i (2 Σ_{j < i} H_ij e_j + H_ii e_i). e: [n] */
function quadraticForm(h: Float32Array, at: number, e: Float64Array): number {
  const n = e.length;
  let sum = 0;
  for (let i = 0, row = at; i < n; i++, row += n) {
    const ei = e[i]!;
    if (ei === 0) continue;
    // Four sums: each addition waits only for every fourth.
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    const end = i - (i % 4);
    for (let j = 0; j < end; j += 4) {
      a += h[row + j]! * e[j]!;
      b += h[row + j + 1]! * e[j + 1]!;
      c += h[row + j + 2]! * e[j + 2]!;
      d += h[row + j + 3]! * e[j + 3]!;
    }
    for (let j = end; j < i; j++) a += h[row + j]! * e[j]!;
    sum += ei * (2 * (a + b + (c + d)) + h[row + i]! * ei);
  }
  return sum;
}
