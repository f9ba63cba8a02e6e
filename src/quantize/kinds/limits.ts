import type { Limits } from '../range/types.ts';

/** Smallest and largest value, 0 among them. */
export function limitsOf(x: Float32Array): Limits {
  const limits = { min: 0, max: 0 };
  for (const value of x) {
    if (value < limits.min) limits.min = value;
    if (value > limits.max) limits.max = value;
  }
  return limits;
}
