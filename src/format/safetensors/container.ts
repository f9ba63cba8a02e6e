/** Plain safetensors: float tensors only, as model hubs hold them. The target of conversions back from GGUF. */
import type { JsonObject } from '../../checkpoint/types.ts';
import { schemeLabel } from '../../quantize/scheme.ts';
import { type StorageType, storage, storageBytes } from '../../tensor/storage.ts';
import { elements } from '../../tensor/tensor.ts';
import { gridsOnly } from '../capabilities.ts';
import { layoutFolder, type Unplaced } from '../folder.ts';
import { packTile } from '../packings.ts';
import { rowMultipleOf } from '../row-order.ts';
import type { Container, Model, WeightTensor } from '../types.ts';

export const safetensors: Container = {
  name: 'safetensors',
  output: 'either',
  extensions: ['.safetensors'],
  convention: 'float tensors as they are; quantized ones are widened to f32, which loses nothing',
  says: gridsOnly,
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
          rowMultiple: rowMultipleOf(stored),
        },
        entries: [{ key: 'data', head: { name, type, shape }, rowBytes: storageBytes(type, stored.cols) }],
      };
    });
    return layoutFolder(request, {
      tensors,
      metadata: () => new Map([['format', 'pt']]),
      ...(request.model.spec && { config: dtypeConfig(request.model, tensors) }),
    });
  },
  pack: packTile,
  runtimes: () => ['transformers', 'vLLM', 'fewbits'],
};

const dtypes: Partial<Record<StorageType, string>> = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' };

/** Loaders cast to the dtype that config.json names: it is the one that holds most bytes. */
function dtypeConfig({ checkpoint }: Model, tensors: readonly Unplaced[]): JsonObject {
  const bytes = new Map<StorageType, number>();
  for (const { entries } of tensors)
    for (const { head } of entries)
      bytes.set(head.type, (bytes.get(head.type) ?? 0) + storageBytes(head.type, elements(head.shape)));
  const [main] = [...bytes].sort((a, b) => b[1] - a[1])[0] ?? [];
  const name = main && dtypes[main];
  const key = checkpoint.config?.['torch_dtype'] !== undefined ? 'torch_dtype' : 'dtype';
  return name === undefined ? {} : { [key]: name };
}

function widened({ stored }: WeightTensor): StorageType {
  return stored.form === 'storage' && storage[stored.type].block === 1 ? stored.type : 'f32';
}
