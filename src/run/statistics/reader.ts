/** What the readers of all statistics files share: errors, checks, and the reader of an importance matrix. */
import { NumericError, RecipeError } from '../../errors.ts';
import { sha256 } from '../../format/fingerprint.ts';
import type { Model } from '../../format/types.ts';
import { linearOf } from '../../model/index.ts';
import type { StatisticKind, StatisticsReader } from '../../quantize/statistics.ts';
import type { Imatrix } from './imatrix.ts';
import type { LinearNames } from './names.ts';

/** Statistics whose shapes are known before they are read. */
export interface StatisticsFile extends StatisticsReader {
  shape(linear: string, kind: StatisticKind): readonly number[] | undefined;
}

/** Width of the input of each linear of a model. */
export function inputWidths({ tensors }: Pick<Model, 'tensors'>): ReadonlyMap<string, number> {
  return new Map(tensors.map(({ name, shape }) => [linearOf(name), shape.at(-1) ?? 1]));
}

export function missing(file: string, linear: string, kind: StatisticKind): RecipeError {
  return new RecipeError({
    what: `the statistics hold no ${kind} of this linear`,
    where: `${file}: ${linear}`,
    next: `make them with fewbits calibrate --kinds ${kind}`,
  });
}

/** @throws RecipeError when the model has the linear with another width */
export function checkWidth(file: string, linear: string, width: number, widths?: ReadonlyMap<string, number>): void {
  const wanted = widths?.get(linear);
  if (wanted !== undefined && wanted !== width)
    throw new RecipeError({
      what: 'the statistics have another width than the tensor',
      where: `${file}: ${linear}`,
      value: width,
      limit: wanted,
      next: 'make them from this model',
    });
}

/** Kinds whose values cannot be negative. */
const magnitudes: ReadonlySet<StatisticKind> = new Set(['absmax', 'absmean', 'meansquare']);

/** @throws NumericError for NaN, Inf, and what is negative and cannot be */
export function checkValues(where: string, kind: StatisticKind, values: Float32Array, width: number): void {
  const least = magnitudes.has(kind) ? 0 : -Infinity;
  for (let i = 0; i < values.length; i++)
    if (!(values[i]! >= least && Math.abs(values[i]!) < Infinity))
      throw new NumericError({
        what: `a value of the ${kind} is ${least === 0 ? 'negative or ' : ''}not finite`,
        where: `${where}[${i}]`,
        value: `${values[i]}`,
      });
  if (kind !== 'hessian') return;
  for (let i = 0; i < width; i++)
    if (values[i * (width + 1)]! < 0)
      throw new NumericError({
        what: 'the diagonal of a Hessian is negative',
        where: `${where}[${i}][${i}]`,
        value: values[i * (width + 1)],
      });
}

/** An importance matrix as statistics: mean squares of the linears that `names` knows. */
export function imatrixReader(
  name: string,
  { entries }: Imatrix,
  names: LinearNames,
  widths?: ReadonlyMap<string, number>,
): StatisticsFile {
  const byLinear = new Map(
    [...entries].flatMap(([tensor, entry]) => {
      const linear = names.toLinear(tensor);
      return linear === undefined ? [] : [[linear, entry] as const];
    }),
  );
  const find = (linear: string, kind: StatisticKind) => (kind === 'meansquare' ? byLinear.get(linear) : undefined);
  return {
    name,
    linears: () => [...byLinear.keys()],
    has: (linear, kind) => find(linear, kind) !== undefined,
    shape(linear, kind) {
      const found = find(linear, kind);
      return found && [found.sums.length];
    },
    tokens: (linear) => byLinear.get(linear)?.count ?? Number.NaN,
    shared: (linear) => linear,
    async read(linear, kind) {
      const found = find(linear, kind);
      if (!found) throw missing(name, linear, kind);
      const { sums, count } = found;
      checkWidth(name, linear, sums.length, widths);
      // Without counts llama.cpp takes all weights as equal.
      const means = sums.map((sum) => (count > 0 ? sum / count : 1));
      checkValues(`${name}: ${linear}`, kind, means, means.length);
      return means;
    },
    fingerprint: () => sha256(JSON.stringify([...byLinear].map(([linear, { sums, count }]) => [linear, count, [...sums]]))),
    async close() {},
  };
}
