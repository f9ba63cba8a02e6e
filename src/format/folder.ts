/**
 * Layout of safetensors outputs: one file, or a Hugging Face folder with shards, configuration and sidecars.
 * Shared by the containers that store their tensors in safetensors.
 */

import { layoutSafetensors, planShards, SHARD_INDEX, type TensorHead } from '../checkpoint/safetensors/index.ts';
import type { JsonObject } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import type { Layout, LayoutRequest, OutputFile, PlacedTensor } from './types.ts';

/** A tensor before it has a place: what becomes of it, and the safetensors entries that hold it. */
export interface Unplaced {
  tensor: Omit<PlacedTensor, 'fields' | 'bytes'>;
  /** Field key -> safetensors entry; `rowBytes` are the bytes of one row, `whole` those of a field without rows. */
  entries: { key: string; head: TensorHead; rowBytes: number; whole?: number }[];
}

export interface FolderParts {
  tensors: Unplaced[];
  /** `__metadata__` of the file that holds these tensors. */
  metadata(names: ReadonlySet<string>): ReadonlyMap<string, string>;
  /** Merged into config.json. */
  config?: JsonObject;
  /** More files of a folder. */
  files?: { name: string; text: string }[];
}

export function layoutFolder(request: LayoutRequest, parts: FolderParts): Layout {
  const heads = parts.tensors.flatMap(({ tensor, entries }) => entries.map(({ head }) => ({ ...head, tensor: tensor.name })));
  const single = request.outputKind === 'file';
  const shards = planShards(heads, single ? undefined : request.maxShardSize);
  const files: OutputFile[] = [];
  const places = new Map<string, { file: number; offset: number; bytes: number }>();
  for (const shard of shards) {
    const names = new Set(shard.tensors.map((head) => (head as TensorHead & { tensor: string }).tensor));
    const layout = layoutSafetensors(shard.tensors, parts.metadata(names));
    for (const [name, place] of layout.offsets) places.set(name, { file: files.length, ...place });
    files.push({
      name: single ? request.output : shard.file,
      size: layout.fileSize,
      known: [{ offset: 0, bytes: layout.header }],
    });
  }
  if (!single) {
    if (shards.length > 1) files.push(textFile(SHARD_INDEX, shardIndex(shards)));
    files.push(...companions(request, parts));
  }
  const tensors = parts.tensors.map(({ tensor, entries }) => {
    const fields: PlacedTensor['fields'] = {};
    let bytes = 0;
    for (const { key, head, rowBytes, whole } of entries) {
      const place = places.get(head.name)!;
      fields[key] = { file: place.file, offset: place.offset, rowBytes, ...(whole !== undefined && { whole }) };
      bytes += place.bytes;
    }
    return { ...tensor, fields, bytes };
  });
  return { files, tensors, warnings: [] };
}

function shardIndex(shards: ReturnType<typeof planShards>): string {
  const weight_map = Object.fromEntries(shards.flatMap((shard) => shard.tensors.map((head) => [head.name, shard.file])));
  const total_size = shards.reduce((sum, shard) => sum + shard.bytes, 0);
  return JSON.stringify({ metadata: { total_size }, weight_map }, null, 2);
}

/** Configuration and sidecars: a folder without its tokenizer is a model that nobody can run. */
function companions(request: LayoutRequest, parts: FolderParts): OutputFile[] {
  const { model } = request;
  const files = (parts.files ?? []).map(({ name, text }) => textFile(name, text));
  const config = model.checkpoint.config ?? model.folderFiles?.config;
  if (config) files.push(textFile('config.json', JSON.stringify({ ...config, ...parts.config }, null, 2)));
  for (const { name, source } of model.checkpoint.sidecars) files.push({ name, size: source.size, known: [], copy: source });
  for (const { name, text } of model.folderFiles?.texts ?? []) files.push(textFile(name, text));
  const names = new Set<string>();
  for (const { name } of files) {
    if (names.has(name)) throw new ModelError({ what: 'two files of the output have one name', where: name });
    names.add(name);
  }
  return files;
}

function textFile(name: string, text: string): OutputFile {
  const bytes = new TextEncoder().encode(text);
  return { name, size: bytes.length, known: [{ offset: 0, bytes }] };
}
