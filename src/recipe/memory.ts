/** The bound on the memory of a run, known before it begins. */
import type { Layout, Model } from '../format/types.ts';
import { elements } from '../tensor/tensor.ts';
import type { PlanNode } from './nodes.ts';
import { seesAllValues } from './resolve.ts';
import { sourceRowBytes, tilesOf } from './tiles.ts';

/**
 * Measured: Node itself with the library; a worker's own isolate and kernels; and what an isolate lets pile up outside of its heap
 * before it collects (V8 allows 64 MB), which integer grids do, because they are encoded in JavaScript arrays.
 */
const BASE_MEMORY = 160e6;
const WORKER_MEMORY = 30e6;
const WORKER_GARBAGE = 80e6;

export interface MemoryRequest {
  model: Model;
  layout: Layout;
  nodes: readonly PlanNode[];
  threads: number;
  calibration?: { context: number; samples: number };
}

export function peakMemory({ model, layout, nodes, threads, calibration }: MemoryRequest): number {
  let tile = 0;
  for (const tensor of layout.tensors) {
    const [first] = tilesOf(tensor);
    if (!first) continue;
    const share = (first[1] - first[0]) / tensor.from.rows;
    const integers = tensor.scheme.kind === 'integer' ? 3 * 4 * elements(tensor.shape) * share : 0;
    const survey = tensor.scheme.kind === 'integer' && seesAllValues(tensor.scheme) ? 3 * 4 * elements(tensor.shape) : 0;
    tile = Math.max(tile, survey, (first[1] - first[0]) * sourceRowBytes(tensor) + 2 * share * tensor.bytes + integers);
  }
  const known = layout.files.reduce((sum, file) => sum + file.known.reduce((s, k) => s + k.bytes.length, 0), 0);
  const garbage = layout.tensors.some((tensor) => tensor.scheme.kind === 'integer') ? WORKER_GARBAGE : 0;
  return Math.ceil(BASE_MEMORY + 2 * known + threads * (WORKER_MEMORY + garbage + tile));
}
