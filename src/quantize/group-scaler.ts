import { NumericError } from '../errors.ts';
import { floatTypes } from '../numeric/float.ts';
import type { Run } from './codes.ts';
import { scaleOf } from './range/registry.ts';
import type { Limits, Range, RangeContext } from './range/types.ts';
import type { MatrixScheme } from './scheme.ts';

/** 16-bit arithmetic starts from 16-bit values. */
export function inComputeType(row: Float32Array, { arithmetic }: RangeContext, out: Float32Array, name: string): Float32Array {
  if (arithmetic.compute === 'f32' || arithmetic.compute === 'f64') return row;
  out.set(row);
  floatTypes[arithmetic.compute].roundRun(out, 0, out.length);
  const lost = arithmetic.compute === 'f16' ? out.findIndex((value) => !Number.isFinite(value)) : -1;
  if (lost >= 0) {
    const next = 'compute in bf16 or f32';
    throw new NumericError({ what: 'a value overflows f16', where: name, value: row[lost], limit: floatTypes.f16.max, next });
  }
  return out;
}

/** Scale and zero of one group after another, in the forms that storing and encoding need. */
export class GroupScaler {
  /** As stored. */
  stored = 0;
  zero = 0;
  /** As encoding uses them. */
  readonly step: Run = { scale: 0, minimum: 0, before: 0, after: 0 };
  readonly #range: Range;
  readonly #context: RangeContext;
  readonly #scaleType: MatrixScheme['scaleType'];

  constructor(range: Range, context: RangeContext, scaleType: MatrixScheme['scaleType']) {
    this.#range = range;
    this.#context = context;
    this.#scaleType = scaleType;
  }

  set(limits: Limits, where: () => string): void {
    const context = this.#context;
    const { scale, zero } = scaleOf(this.#range, limits, context);
    const isInteger = context.symmetric || context.zero === 'integer';
    this.stored = this.#cast(scale, 'scale', where);
    this.zero = isInteger ? zero : this.#cast(zero, context.zero === 'float' ? 'float zero' : 'minimum', where);

    const { step } = this;
    const afterCast = context.arithmetic.scale === 'afterCast';
    const usedZero = afterCast ? this.zero : zero;
    step.scale = afterCast ? this.stored : scale;
    step.minimum = !context.symmetric && context.zero === 'minimum' ? usedZero : 0;
    step.before = step.after = 0;
    if (isInteger && context.arithmetic.zero === 'afterRounding') step.after = usedZero;
    else if (step.minimum === 0 && context.zero !== 'minimum') step.before = usedZero;
  }

  #cast(value: number, what: string, where: () => string): number {
    const cast = this.#context.cast(value);
    if (Number.isFinite(cast)) return cast;
    const type = this.#scaleType;
    throw new NumericError({
      what: `the ${what} of a group overflows ${type}`,
      where: where(),
      value: `${value}`,
      limit: floatTypes[type].max,
      next: type === 'f16' ? 'store scales as bf16 or f32' : 'keep this tensor as it is',
    });
  }
}
