/** What depends on positions alone, computed in f64 here and fed to the graph: cos, sin and the masks. */
import { ropeFrequencies } from '../model/index.ts';
import type { ModelSpec } from '../model/types.ts';
import { maskName } from './model.ts';
import type { GraphTensor } from './types.ts';

/**
 * Inputs of the graph for positions past .. past + length - 1.
 * @param factors values of the tensor that the spec's rope names, if it names one.
 */
export function positionFeeds(
  spec: ModelSpec,
  past: number,
  length: number,
  factors?: Float32Array,
): Record<string, GraphTensor> {
  const feeds: Record<string, GraphTensor> = rotary(spec, past, length, factors);
  for (const window of new Set(spec.window)) feeds[maskName(window)] = mask(window, past, length);
  return feeds;
}

function rotary(
  { rope }: ModelSpec,
  past: number,
  length: number,
  factors?: Float32Array,
): { cos: GraphTensor; sin: GraphTensor } {
  const { inverse, scale } = ropeFrequencies(rope, past + length, factors);
  const { dims } = rope;
  const half = dims / 2;
  const cos = new Float32Array(length * dims); // [length, dims]
  const sin = new Float32Array(length * dims); // the first half negated
  for (let t = 0; t < length; t++)
    for (let i = 0; i < half; i++) {
      const angle = (past + t) * inverse[i]!;
      const row = t * dims + i;
      cos[row] = cos[row + half] = Math.cos(angle) * scale;
      sin[row + half] = Math.sin(angle) * scale;
      sin[row] = -sin[row + half]!;
    }
  const tensor = (data: Float32Array): GraphTensor => ({ type: 'f32', dims: [length, dims], data });
  return { cos: tensor(cos), sin: tensor(sin) };
}

/** Causal, and with a window W: position i sees j where i - W < j <= i. [length, past + length] */
function mask(window: number | undefined, past: number, length: number): GraphTensor {
  const seen = past + length;
  const data = new Float32Array(length * seen).fill(-Infinity);
  for (let t = 0; t < length; t++) {
    const position = past + t;
    const first = window === undefined ? 0 : Math.max(position - window + 1, 0);
    data.fill(0, t * seen + first, t * seen + position + 1);
  }
  return { type: 'f32', dims: [length, seen], data };
}
