/** GPTQ with one option changed at a time: what each part of it gives. */

export interface Step {
  name: string;
  /** Whether activations are collected in the run; else they come from a file, in parallel order. */
  collects?: boolean;
  /** Added to a recipe of q3_k_m. */
  recipe: object;
  options?: readonly string[];
}

const gptq = (more: object = {}): object => ({ rounding: { kind: 'gptq', ...more } });
const collected = (name: string, calibration: object): Step => ({
  name,
  collects: true,
  recipe: { ...gptq(), calibration },
});

export const steps: readonly Step[] = [
  { name: 'round to nearest', collects: true, recipe: {} },
  { name: 'round to nearest, importance', recipe: {} },
  { name: 'feedback alone (refine 0)', recipe: gptq({ refine: 0 }) },
  { name: 'feedback alone, natural order', recipe: gptq({ refine: 0, order: 'natural' }) },
  { name: 'refine 1', recipe: gptq({ refine: 1 }) },
  { name: 'refine 2 (default)', recipe: gptq() },
  { name: 'refine 5', recipe: gptq({ refine: 5 }) },
  { name: 'natural order', recipe: gptq({ order: 'natural' }) },
  { name: 'damp 0.003', recipe: gptq({ damp: 0.003 }) },
  { name: 'damp 0.03', recipe: gptq({ damp: 0.03 }) },
  collected('512 windows instead of 128', { samples: 512 }),
  collected('block, not corrected', { order: 'block', correct: false }),
  collected('sequential, not corrected', { order: 'sequential', correct: false }),
  collected('block', { order: 'block' }),
  collected('sequential', { order: 'sequential' }),
];
