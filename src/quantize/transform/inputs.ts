/**
 * What a rewrite does to the inputs of linears, and to what is known of them. What multiplies the columns of a weight was taken out of
 * its input, or happens to it at run time: W becomes W M, and x becomes x M'^-1.
 */
import { NumericError } from '../../errors.ts';
import type { StatisticKind } from '../statistics.ts';
import type { TensorOperation } from './operations.ts';
import { applyStrided, type Rotation, rotator } from './rotation.ts';

export type InputChange =
  /** x_c over by[c], [in]. */
  | { readonly kind: 'scale'; readonly by: Float32Array; readonly divide: boolean }
  /** Runs of x become x Q. */
  | { readonly kind: 'rotate'; readonly rotation: Rotation; readonly stride: number };

/** In order, for the input of one linear. @param weight its weight's canonical name */
export function inputChanges(operations: readonly TensorOperation[], weight: string): InputChange[] {
  return operations.flatMap((one): InputChange[] => {
    if (one.tensor !== weight || !('axis' in one) || one.axis !== 'columns') return [];
    return one.kind === 'scale'
      ? [{ kind: 'scale', by: one.by, divide: !one.divide }]
      : [{ kind: 'rotate', rotation: one.rotation, stride: one.stride ?? 1 }];
  });
}

/** Which statistic of the input as it was tells this one behind the changes; undefined: none does. */
export function kindBefore(kind: StatisticKind, rotated: boolean): StatisticKind | undefined {
  return rotated ? behindRotation[kind] : kind;
}

const behindRotation: Partial<Record<StatisticKind, StatisticKind>> = {
  hessian: 'hessian',
  samples: 'samples',
  meansquare: 'hessian',
};

/**
 * A statistic of the changed input.
 * @param values `kindBefore(kind)` of the input as it was: [in], [in, in] or [k, in]
 * @returns a copy; each change in f64, rounded to f32 after it
 * @throws NumericError where an input was multiplied by 0: what it was before is lost
 */
export function changedStatistic(
  kind: StatisticKind,
  values: Float32Array,
  width: number,
  changes: readonly InputChange[],
  where: string,
): Float32Array {
  const rotated = changes.some((change) => change.kind === 'rotate');
  const before = kindBefore(kind, rotated) ?? kind;
  let changed: Float32Array = values.slice();
  for (const change of changes) {
    if (change.kind === 'rotate') rotate(before, changed, width, change);
    else changed = scaled(before, changed, width, factors(change, width, where));
  }
  if (before === kind) return changed;
  return Float32Array.from({ length: width }, (_, i) => changed[i * (width + 1)]!);
}

/** What every input is multiplied with, [in] in f64. */
function factors({ by, divide }: Extract<InputChange, { kind: 'scale' }>, width: number, where: string): Float64Array {
  const found = Float64Array.from({ length: width }, (_, c) => (divide ? 1 / by[c]! : by[c]!));
  const bad = found.findIndex((factor) => !Number.isFinite(factor));
  if (bad === -1) return found;
  throw new NumericError({
    what: `input ${bad} was multiplied by a gain of ${by[bad]}: its statistics do not tell what it is without the gain`,
    where,
    next: 'leave --stats out: the run collects what it needs from the rewritten model',
  });
}

type Scaling = (values: Float32Array, factor: Float64Array) => Float32Array;
const each =
  (power: (factor: number) => number): Scaling =>
  (values, factor) => {
    const width = factor.length;
    return values.map((value, at) => value * power(factor[at % width]!));
  };
const signed = each((f) => f);
const magnitude = each(Math.abs);

const scalings: Readonly<Record<StatisticKind, Scaling>> = {
  absmax: magnitude,
  absmean: magnitude,
  meansquare: each((f) => f * f),
  min: signed,
  max: signed,
  samples: signed,
  hessian(values, factor) {
    const width = factor.length;
    const out = new Float32Array(values.length);
    for (let i = 0, at = 0; i < width; i++)
      for (let j = 0; j < width; j++, at++) out[at] = values[at]! * (factor[i]! * factor[j]!);
    return out;
  },
};

function scaled(kind: StatisticKind, values: Float32Array, width: number, factor: Float64Array): Float32Array {
  const swaps = (kind === 'min' || kind === 'max') && factor.some((f) => f < 0);
  // The least of what changes its sign was the largest: only both together tell.
  if (swaps)
    throw new NumericError({ what: `the ${kind} of an input that changes its sign is not told by its ${kind}`, value: width });
  return scalings[kind](values, factor);
}

/** Rows become rows Q; of a Hessian the columns too: Q' H Q, symmetric to the bit. In place. */
function rotate(
  kind: StatisticKind,
  values: Float32Array,
  width: number,
  change: Extract<InputChange, { kind: 'rotate' }>,
): void {
  const turn = rotator(change.rotation);
  const rows = Float64Array.from(values);
  applyStrided(turn, rows, change.stride);
  if (kind !== 'hessian') {
    values.set(rows);
    return;
  }
  transpose(rows, width);
  applyStrided(turn, rows, change.stride);
  for (let i = 0; i < width; i++)
    for (let j = 0; j <= i; j++)
      values[i * width + j] = values[j * width + i] = (rows[i * width + j]! + rows[j * width + i]!) / 2;
}

function transpose(x: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      const upper = x[j * n + i]!;
      x[j * n + i] = x[i * n + j]!;
      x[i * n + j] = upper;
    }
  }
}
