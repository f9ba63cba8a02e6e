import { ModelError } from '../errors.ts';
import type { Model } from '../format/types.ts';
import type { WeightReader } from '../graph/index.ts';
import { decoded, RowReader } from './row-reader.ts';

/** Reads a model's weights by canonical name, widened to f32 in canonical row order. The files it opens stay open until `close`. */
export function weightReader(model: Model): WeightReader {
  const byName = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  const reader = new RowReader();
  const find = (name: string) => {
    const tensor = byName.get(name);
    if (!tensor) throw new ModelError({ what: 'the model has no such tensor', where: `${model.name}: ${name}` });
    return tensor;
  };
  const read = async (name: string) => {
    const { stored, type } = find(name);
    const { rows, cols } = stored;
    const out = new Float32Array(rows * cols);
    await reader.walk([stored], ({ kernels, from, rows: [fetched] }) => {
      if (!fetched!.decodable) throw new ModelError({ what: `a tensor of type ${type} has no float values`, where: name });
      out.set(decoded(kernels, fetched!, cols), from * cols);
    });
    return out;
  };
  const rows = (name: string, wanted: Int32Array) => reader.rows(find(name).stored, wanted);
  return Object.assign(read, { rows, close: () => reader.close() });
}
