/**
 * The container GGUF: one file (or a split one) of ggml types that llama.cpp and its relatives load. Types, order and metadata
 * are llama.cpp's own, so that a file equals what its tools write from the same weights.
 */
import { layoutGguf, splitFileName } from '../../checkpoint/gguf/index.ts';
import type { GgufValue } from '../../checkpoint/types.ts';
import { ModelError } from '../../errors.ts';
import { read } from '../../io/index.ts';
import { isWeightScheme, schemeLabel } from '../../quantize/scheme.ts';
import { type StorageType, storage, storageBytes } from '../../tensor/storage.ts';
import { asMatrix } from '../../tensor/tensor.ts';
import { gridsOnly } from '../capabilities.ts';
import { packTile } from '../packings.ts';
import { rowMultipleOf } from '../row-order.ts';
import type { Container, Layout, LayoutRequest, Model, OutputFile, PlacedTensor, StoredTensor, WeightTensor } from '../types.ts';
import { exactTypeOf } from './from-tile.ts';
import { extraTensors, ggufMetadata, quantizedMetadata } from './metadata.ts';
import { blockOrder, converterOrder, staysF32 } from './tensor-order.ts';
import { type FileType, fileTypeNamed, fileTypeOf, fileTypes } from './types.ts';

type Entry = readonly [key: string, value: GgufValue];

export const gguf: Container = {
  name: 'gguf',
  output: 'file',
  extensions: ['.gguf'],
  convention: 'ggml block types, encoded as llama.cpp does (ggml built without FMA contraction)',
  feedbackConvention: 'ggml block types as llama.cpp reads them; scales begin as its encoder chooses them',
  says: gridsOnly,
  refuses: (scheme) => {
    if (isWeightScheme(scheme)) return 'its grids are the ggml types';
    const type = scheme.kind === 'storage' ? scheme.type : undefined;
    return type !== undefined && storage[type].ggml === undefined ? `ggml has no type ${type}` : undefined;
  },
  async layout(request) {
    const placed = ordered(request, [...extras(request.model), ...request.schemes.map(placedTensor)]);
    const fileType = request.fileType !== undefined ? fileTypeNamed(request.fileType) : guessFileType(placed, request.model);
    const { metadata, warnings } = await metadataOf(request, placed, fileType);
    return { ...splitLayout(request, metadata, placed), warnings };
  },
  pack: packTile,
  runtimes,
};

/** A tensor of the output that has no place yet. */
type Unplaced = Omit<PlacedTensor, 'fields'> & { fileName: string };

function placedTensor({ tensor, scheme }: LayoutRequest['schemes'][number]): Unplaced {
  const name = tensor.gguf ?? tensor.fileName;
  const type = scheme.kind === 'storage' ? scheme.type : keptType(tensor, name);
  const placed = unplaced(name, tensor, toGgufOrder(tensor), type);
  return scheme.kind === 'storage' && (scheme.rounding || scheme.encoder) ? { ...placed, scheme } : placed;
}

function unplaced(
  name: string,
  tensor: Pick<WeightTensor, 'name' | 'fileName' | 'role' | 'shape'>,
  from: StoredTensor,
  type: StorageType,
): Unplaced {
  return {
    name,
    source: tensor.name,
    fileName: tensor.fileName,
    role: tensor.role,
    shape: tensor.shape,
    from,
    scheme: { kind: 'storage', type },
    label: schemeLabel({ kind: 'storage', type }),
    bytes: from.rows * storageBytes(type, from.cols),
    rowMultiple: rowMultipleOf(from),
  };
}

const halves: ReadonlySet<StorageType> = new Set(['f16', 'bf16']);

/** What stays keeps its dtype, an integer grid the ggml type that means the same; norms and biases are F32 in every GGUF file. */
function keptType({ stored, shape }: WeightTensor, name: string): StorageType {
  if (stored.form === 'tile') return exactTypeOf(stored.tile, stored.cols) ?? 'f32';
  if (stored.form === 'values') return 'f32';
  if (storage[stored.type].ggml === undefined) return 'f32';
  return halves.has(stored.type) && staysF32(name, shape) ? 'f32' : stored.type;
}

/** The rows of q and k are interleaved in llama-family files; a GGUF source has them so already. */
function toGgufOrder({ stored, permute }: WeightTensor): StoredTensor {
  if (permute === undefined) return stored;
  if (stored.order) {
    const { order: _, ...plain } = stored;
    return plain;
  }
  return { ...stored, order: { heads: permute, way: 'interleave' } };
}

/** Tensors that follow from the configuration and that only GGUF files hold. */
function extras(model: Model): Unplaced[] {
  if (!model.spec || model.checkpoint.kind === 'gguf') return [];
  return extraTensors(model.spec).map(({ name, shape, values }) => {
    const { rows, cols } = asMatrix(shape);
    return unplaced(name, { name, fileName: '', role: 'rope', shape }, { rows, cols, form: 'values', values }, 'f32');
  });
}

function isQuantized(tensors: readonly Unplaced[]): boolean {
  return tensors.some(({ scheme }) => scheme.kind === 'storage' && storage[scheme.type].block > 1);
}

/** The converter's order for plain conversions, the quantizer's for quantized files. */
function ordered({ model }: LayoutRequest, tensors: Unplaced[]): Unplaced[] {
  if (!model.spec && model.checkpoint.kind !== 'gguf') return tensors;
  if (model.checkpoint.kind === 'gguf' || isQuantized(tensors)) return tensors.sort((a, b) => blockOrder(a.name, b.name));
  const shard = new Map(tensors.map((t) => [t.fileName, model.checkpoint.tensors.get(t.fileName)?.source.name ?? '']));
  return tensors.sort((a, b) => converterOrder((name) => shard.get(name) ?? '')(a.fileName, b.fileName));
}

/**
 * The file type whose base type holds most bytes: what `general.file_type` says of a file made by a recipe. The source's own, where
 * that has the same base: Q4_K_S and Q4_K_M differ in the tensors that are not Q4_K.
 */
function guessFileType(tensors: readonly Unplaced[], { checkpoint }: Model): FileType {
  const bytes = new Map<StorageType, number>();
  for (const { scheme, bytes: size } of tensors)
    if (scheme.kind === 'storage') bytes.set(scheme.type, (bytes.get(scheme.type) ?? 0) + size);
  const [main] = [...bytes].sort((a, b) => b[1] - a[1])[0] ?? ['f32'];
  const said = fileTypeOf(Number(checkpoint.gguf?.get('general.file_type')?.value ?? -1));
  if (said && fileTypes[said].base === main) return said;
  return (Object.keys(fileTypes) as FileType[]).find((name) => fileTypes[name].base === main) ?? 'f16';
}

async function metadataOf(
  request: LayoutRequest,
  tensors: readonly Unplaced[],
  fileType: FileType,
): Promise<{ metadata: Entry[]; warnings: string[] }> {
  const { model } = request;
  const { checkpoint, spec } = model;
  const quantized = isQuantized(tensors);
  if (checkpoint.gguf) {
    const provenance = provenanceKeys(request);
    // A file of ours names what it was made from; what is made from it names it.
    const replaced = new Set(provenance.map(([key]) => key));
    const source = [...checkpoint.gguf].filter(([key]) => !replaced.has(key));
    return { metadata: [...quantizedMetadata(source, fileType), ...provenance], warnings: [] };
  }
  if (!checkpoint.config) {
    // A bag has no architecture: the file holds its tensors under their names for tools that read single tensors.
    const bag: Entry[] = [['general.architecture', { type: 'string', value: 'unknown' }]];
    return {
      metadata: [...quantizedMetadata(bag, fileType), ...provenanceKeys(request)],
      warnings: ['a bag of tensors: no runtime can load the file as a model'],
    };
  }
  if (!spec) {
    throw new ModelError({
      what: 'a GGUF file needs an architecture that is known',
      where: model.name,
      value: checkpoint.config['model_type'],
      next: 'use --to fewbits',
    });
  }
  const sidecars = new Map<string, Uint8Array>();
  for (const { name, source } of checkpoint.sidecars)
    if (/\.(json|model|jinja|txt)$/.test(name)) sidecars.set(name, await read(source, 0, source.size));
  const name =
    model.name
      .replace(/[\\/]+$/, '')
      .split(/[\\/]/)
      .at(-1) || 'model';
  const { metadata, warnings } = ggufMetadata(spec, {
    config: checkpoint.config,
    sidecars,
    name,
    fileType: quantized ? 'f16' : fileType,
    tensors,
  });
  return { metadata: quantized ? [...quantizedMetadata(metadata, fileType), ...provenanceKeys(request)] : metadata, warnings };
}

function provenanceKeys({ provenance }: LayoutRequest): Entry[] {
  if (!provenance) return [];
  return [
    ['fewbits.version', { type: 'string', value: provenance.version }],
    ['fewbits.source', { type: 'string', value: provenance.source }],
    ['fewbits.recipe', { type: 'string', value: JSON.stringify(provenance.recipe) }],
  ];
}

/** One file, or several of at most `maxShardSize` bytes of tensors: only the first holds the whole metadata. */
function splitLayout(request: LayoutRequest, metadata: Entry[], tensors: Unplaced[]): Omit<Layout, 'warnings'> {
  const groups: Unplaced[][] = [[]];
  let held = 0;
  for (const tensor of tensors) {
    if (held > 0 && held + tensor.bytes > (request.maxShardSize ?? Number.POSITIVE_INFINITY)) {
      groups.push([]);
      held = 0;
    }
    groups.at(-1)!.push(tensor);
    held += tensor.bytes;
  }
  const files: OutputFile[] = [];
  const placed: PlacedTensor[] = [];
  for (const [index, group] of groups.entries()) {
    const split: Entry[] =
      groups.length === 1
        ? []
        : [
            ['split.no', { type: 'u16', value: index }],
            ['split.count', { type: 'u16', value: groups.length }],
            ['split.tensors.count', { type: 'i32', value: tensors.length }],
          ];
    const heads = group.map((tensor) => ({
      name: tensor.name,
      type: (tensor.scheme as { type: StorageType }).type,
      shape: tensor.shape,
    }));
    const layout = layoutGguf([...(index === 0 ? metadata : []), ...split], heads, alignmentOf(metadata));
    const name =
      groups.length === 1 ? request.output : splitFileName(request.output.replace(/\.gguf$/i, ''), index, groups.length);
    for (const [i, { fileName: _, ...tensor }] of group.entries()) {
      const { offset } = layout.tensors[i]!;
      const rowBytes = tensor.from.rows ? tensor.bytes / tensor.from.rows : 0;
      placed.push({ ...tensor, fields: { data: { file: files.length, offset, rowBytes } } });
    }
    files.push({ name, size: layout.fileSize, known: [{ offset: 0, bytes: layout.header }] });
  }
  return { files, tensors: placed };
}

/** llama-quantize writes 32 whatever the source says; a key that says otherwise would make the file unreadable. */
function alignmentOf(metadata: Entry[]): number | undefined {
  const value = metadata.find(([key]) => key === 'general.alignment')?.[1];
  return value?.type === 'u32' ? value.value : undefined;
}

/** Types that runtimes with a llama.cpp of their own may not have yet. */
const late: readonly StorageType[] = ['tq1_0', 'tq2_0', 'nvfp4', 'q1_0', 'q2_0'];

function runtimes(layout: Layout, model: Model): string[] {
  if (!model.spec && !model.checkpoint.gguf) return ['fewbits']; // a bag of tensors is no model to anyone else
  const types = new Set(layout.tensors.map((tensor) => (tensor.scheme as { type: StorageType }).type));
  const all = ['llama.cpp', 'node-llama-cpp', 'ollama', 'LM Studio', 'fewbits'];
  if (late.some((type) => types.has(type))) return [...all.slice(0, 2), 'fewbits'];
  return types.has('bf16') ? [...all.slice(0, 3), 'fewbits'] : all;
}
