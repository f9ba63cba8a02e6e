import { ModelError } from '../errors.ts';
import { fetchRows } from '../format/read-rows.ts';
import { rowStep } from '../format/row-order.ts';
import type { Model } from '../format/types.ts';
import { tileTools } from './tile-tools.ts';

/** Values fetched at a time: 4 Mi of f32 are 16 MiB. */
const STEP_VALUES = 4 * 2 ** 20;

/** Reads a model's weights by canonical name, widened to f32 in canonical row order. */
export function weightReader(model: Model): (name: string) => Promise<Float32Array> {
  const byName = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  const tools = tileTools();
  return async (name) => {
    const tensor = byName.get(name);
    if (!tensor) throw new ModelError({ what: 'the model has no such tensor', where: `${model.name}: ${name}` });
    const { kernels, open } = await tools;
    const { stored } = tensor;
    const out = new Float32Array(stored.rows * stored.cols);
    const step = rowStep(STEP_VALUES, stored);
    for (let from = 0; from < stored.rows; from += step) {
      kernels.reset();
      const to = Math.min(stored.rows, from + step);
      const rows = await fetchRows(kernels, open, stored, from, to);
      if (!rows.decodable) throw new ModelError({ what: `a tensor of type ${tensor.type} has no float values`, where: name });
      const count = (to - from) * stored.cols;
      const at = kernels.alloc(count * 4);
      rows.decode(0, to - from, at);
      out.set(kernels.f32(at, count), from * stored.cols);
    }
    return out;
  };
}
