/** What is between a linear's input and its codes, as nodes: x [.., in] -> integers as f32, their scale and zero point. */
import { floatTypes } from '../numeric/float.ts';
import { minifloat } from '../numeric/minifloat.ts';
import { largestOf, staticLevels } from '../quantize/activations.ts';
import { integerGrid } from '../quantize/grid/integer.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import type { GraphBuilder, ValueName } from './builder.ts';
import { bytesOf } from './ir.ts';
import { notZero, reduce, roundTo, roundToMinifloat } from './number-nodes.ts';

export interface InputCodes {
  /** Values of the grid as f32, shaped like x. */
  codes: ValueName;
  scale: ValueName;
  zero?: ValueName;
}

/** @param x the last axis shares a scale, with all others where the scheme is per tensor; static levels are constants under `name`. */
export function inputCodes(b: GraphBuilder, x: ValueName, scheme: ActivationScheme, name: string): InputCodes {
  const { scale, zero } = scheme.dynamic ? dynamicLevels(b, x, scheme) : constantLevels(b, scheme, name);
  const quotient = b.node('Div', [x, scale]);
  if (scheme.float !== undefined) return { codes: roundToMinifloat(b, quotient, minifloat(scheme.float)), scale };
  const { qMin, qMax } = integerGrid(scheme.bits, true);
  const codes = roundTo(b, zero === undefined ? quotient : b.add(quotient, zero), qMin, qMax);
  return { codes, scale, ...(zero !== undefined && { zero }) };
}

function dynamicLevels(
  b: GraphBuilder,
  x: ValueName,
  { bits, symmetric, per, float }: ActivationScheme,
): Omit<InputCodes, 'codes'> {
  const axis = per === 'tensor' ? undefined : -1;
  const divide = (value: ValueName, by: ValueName) => b.node('Div', [value, by]);
  const { epsilon } = floatTypes.f32;
  const half = 2 ** (bits - 1);
  if (symmetric) {
    const steps = float === undefined ? half - 0.5 : largestOf(minifloat(float));
    return { scale: notZero(b, divide(reduce(b, 'ReduceMax', b.node('Abs', [x]), axis), b.float(steps)), epsilon) };
  }
  const min = b.node('Min', [reduce(b, 'ReduceMin', x, axis), b.float(0)]);
  const max = b.node('Max', [reduce(b, 'ReduceMax', x, axis), b.float(0)]);
  const scale = notZero(b, divide(b.node('Sub', [max, min]), b.float(2 * half - 1)), epsilon);
  return { scale, zero: roundTo(b, b.node('Sub', [b.float(-half), divide(min, scale)]), -half, half - 1) };
}

function constantLevels(b: GraphBuilder, scheme: ActivationScheme, name: string): Omit<InputCodes, 'codes'> {
  const { scale, zero } = staticLevels(scheme);
  // Groups lie along the last axis but one: [in / group, 1].
  const dims = typeof scheme.per === 'object' ? [scale.length, 1] : [scale.length];
  const constant = (what: string, data: Float32Array) =>
    b.constant(`${name}.${what}`, { type: 'f32', dims, bytes: bytesOf(data) });
  return { scale: constant('scale', scale), ...(!scheme.symmetric && { zero: constant('zero', zero) }) };
}
