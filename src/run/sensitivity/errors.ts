/** What each scheme costs at the outputs of one matrix, from some of its rows. */
import type { WeightTensor } from '../../format/types.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import type { Scheme } from '../../quantize/scheme.ts';
import { OutputLoss } from '../../quantize/transform/output-loss.ts';
import type { ErrorMeasure } from '../../recipe/budget/types.ts';
import type { RowReader } from '../row-reader.ts';
import { roundTrip } from './round-trip.ts';

/** Of a matrix; more rows add time and hardly change the ratio of two sums over rows. */
const SAMPLED_VALUES = 2 ** 17;

/** What is known of the input of a matrix. */
export interface InputKnowledge {
  /** [cols, cols] */
  hessian?: Float32Array;
  /** [cols] */
  meansquare?: Float32Array;
  /** The encoders of the run weigh columns by it, [cols]. */
  importance?: Float32Array;
}

/**
 * Error of each scheme relative to what is lost without the matrix: tr(E H E') / tr(W H W'); with only mean squares of the inputs H is
 * their diagonal, with nothing the identity.
 * @returns one value a scheme; 0 for a matrix of zeros
 */
export async function relativeErrors(
  kernels: Kernels,
  reader: RowReader,
  { name, stored }: WeightTensor,
  schemes: readonly Scheme[],
  known: InputKnowledge,
): Promise<{ errors: number[]; measure: ErrorMeasure }> {
  const { rows, cols } = stored;
  const count = Math.min(rows, Math.max(1, Math.floor(SAMPLED_VALUES / cols)));
  const wanted = Int32Array.from({ length: count }, (_, i) => Math.floor((i * rows) / count));
  const values = await reader.rows(stored, wanted);
  const { measure, cost } = costOf(kernels, cols, known);
  const whole = cost(values);
  const inputs = known.importance ? { meansquare: known.importance } : {};
  const errors = schemes.map((scheme) => {
    if (whole === 0) return 0;
    const back = roundTrip(kernels, scheme, values, cols, name, inputs);
    return cost(values.map((value, i) => value - back[i]!)) / whole;
  });
  return { errors, measure };
}

function costOf(
  kernels: Kernels,
  cols: number,
  { hessian, meansquare }: InputKnowledge,
): { measure: ErrorMeasure; cost: (error: Float32Array) => number } {
  if (hessian) {
    const loss = new OutputLoss(kernels, hessian, cols);
    return { measure: 'hessian', cost: (error) => Math.max(0, loss.total(error)) };
  }
  const weight = (i: number) => meansquare?.[i % cols] ?? 1;
  const cost = (error: Float32Array) => error.reduce((sum, value, i) => sum + weight(i) * value * value, 0);
  return { measure: meansquare ? 'meansquare' : 'weights', cost };
}
