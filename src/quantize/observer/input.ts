/** An observer of the input of a linear: one for the tensor, or one for each channel or group of channels. */
import { RecipeError } from '../../errors.ts';
import type { ActivationScheme } from '../../quantized/types.ts';
import type { InputScheme } from '../scheme.ts';
import { observerOf } from './registry.ts';
import type { Observer, ObserverOptions } from './types.ts';

export interface InputObserver {
  /** @param x [tokens, width], one batch. @throws NumericError for NaN and infinities */
  observe(x: Float32Array): void;
  /** One for a tensor, [width] for channels, [width / group] for groups. @throws NumericError before the first value */
  range(): NonNullable<ActivationScheme['range']>;
}

/** @throws RecipeError for options outside their limits and groups that do not fill the width */
export function inputObserver(scheme: InputScheme, width: number): InputObserver {
  const { per, observer = 'minmax' } = scheme;
  const run = typeof per === 'object' ? per.group : per === 'channel' ? 1 : width;
  if (width % run !== 0) throw new RecipeError({ what: 'groups do not fill the input of a linear', value: run, limit: width });
  const options = optionsOf(scheme);
  const observers = Array.from({ length: width / run }, () => observerOf(observer, options));
  const limits = (observers: readonly Observer[]) => {
    const all = observers.map((one) => one.limits());
    return { min: all.map(({ min }) => min), max: all.map(({ max }) => max) };
  };
  return {
    observe(x) {
      if (x.length % width !== 0)
        throw new RecipeError({ what: 'a batch is no rows of the input', value: x.length, limit: width });
      for (const [g, one] of observers.entries()) one.observe(run === width ? x : columns(x, width, g * run, run));
    },
    range: () => limits(observers),
  };
}

/** Histograms look for the interval of least error among as many codes as the scheme has; of |x| there are half as many. */
function optionsOf({ bits, symmetric, observer, observerOptions }: InputScheme): ObserverOptions {
  return { symmetric, ...observerOptions, codes: 2 ** (observer === 'entropy' ? bits - 1 : bits) };
}

/** Columns [from, from + count) of x [tokens, width]. */
function columns(x: Float32Array, width: number, from: number, count: number): Float32Array {
  const out = new Float32Array((x.length / width) * count);
  for (let row = 0, at = 0; row < x.length; row += width, at += count) out.set(x.subarray(row + from, row + from + count), at);
  return out;
}
