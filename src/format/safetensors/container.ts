/** Plain safetensors: float tensors only, as model hubs hold them. The target of conversions back from GGUF. */
import { schemeLabel } from '../../quantize/scheme.ts';
import { type StorageType, storage, storageBytes } from '../../tensor/storage.ts';
import { layoutFolder } from '../folder.ts';
import { headRows } from '../row-order.ts';
import { packTile } from '../tile-fields.ts';
import type { Container, WeightTensor } from '../types.ts';

export const safetensors: Container = {
  name: 'safetensors',
  output: 'either',
  extensions: ['.safetensors'],
  convention: 'float tensors as they are; quantized ones are widened to f32, which loses nothing',
  refuses: (scheme) => {
    if (scheme.kind === 'keep' || (scheme.kind === 'storage' && storage[scheme.type].block === 1)) return undefined;
    return `${schemeLabel(scheme)} is quantized, and plain safetensors hold floats`;
  },
  async layout(request) {
    const tensors = request.schemes.map(({ tensor, scheme }) => {
      const type = scheme.kind === 'storage' ? scheme.type : widened(tensor);
      const { name, shape, role, stored } = tensor;
      return {
        tensor: {
          name,
          source: name,
          role,
          shape,
          from: stored,
          scheme: { kind: 'storage' as const, type },
          label: type,
          rowMultiple: headRows(stored),
        },
        entries: [{ key: 'data', head: { name, type, shape }, rowBytes: storageBytes(type, stored.cols) }],
      };
    });
    return layoutFolder(request, { tensors, metadata: () => new Map([['format', 'pt']]) });
  },
  pack: packTile,
  runtimes: () => ['transformers', 'vLLM', 'fewbits'],
};

function widened({ stored }: WeightTensor): StorageType {
  return stored.form === 'storage' && storage[stored.type].block === 1 ? stored.type : 'f32';
}
