/**
 * Layout of safetensors outputs: one file, or a Hugging Face folder with shards, configuration and sidecars.
 * Shared by the containers that store their tensors in safetensors.
 */

import { quantizationConfigNames } from '../checkpoint/index.ts';
import { layoutSafetensors, planShards, SHARD_INDEX, shardIndexText, type TensorHead } from '../checkpoint/safetensors/index.ts';
import type { JsonObject } from '../checkpoint/types.ts';
import { ModelError, RecipeError } from '../errors.ts';
import type { FieldSize } from './field-ranges.ts';
import type { FolderFiles, InputField, Layout, LayoutRequest, OutputFile, PlacedTensor } from './types.ts';

/** A tensor before it has a place: what becomes of it, and the safetensors entries that hold it. */
export interface Unplaced {
  tensor: Omit<PlacedTensor, 'fields' | 'bytes'>;
  /** Field key -> safetensors entry, and how the rows of the field lie in it. */
  entries: (FieldSize & { key: string; head: TensorHead })[];
  /** Entries whose bytes follow from the plan. */
  constants?: { head: TensorHead; bytes: Uint8Array }[];
  /** Levels of a static input: their bytes are known when calibration has seen the input. */
  input?: { key: InputField; head: TensorHead }[];
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

export async function layoutFolder(request: LayoutRequest, parts: FolderParts): Promise<Layout> {
  const single = request.outputKind === 'file';
  const made = single ? undefined : await request.model.folderFiles?.();
  // The factors of rope scaling that only GGUF files hold follow from the configuration.
  const unplaced = made ? parts.tensors.filter(({ tensor }) => tensor.role !== 'rope') : parts.tensors;
  const heads = unplaced.flatMap(({ tensor, entries, constants = [], input = [] }) =>
    [...entries, ...constants, ...input].map(({ head }) => ({ ...head, tensor: tensor.name })),
  );
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
    if (shards.length > 1) files.push(textFile(SHARD_INDEX, shardIndexText(shards)));
    files.push(...companions(request, parts, made));
  }
  const tensors = unplaced.map(({ tensor, entries, constants = [], input = [] }) => {
    const fields: PlacedTensor['fields'] = {};
    let bytes = 0;
    for (const { key, head, ...size } of entries) {
      const place = places.get(head.name)!;
      fields[key] = { file: place.file, offset: place.offset, ...size };
      bytes += place.bytes;
    }
    for (const { head, bytes: content } of constants) {
      const place = places.get(head.name)!;
      files[place.file] = withKnown(files[place.file]!, { offset: place.offset, bytes: content });
      bytes += place.bytes;
    }
    const levels: NonNullable<PlacedTensor['input']> = {};
    for (const { key, head } of input) {
      const place = places.get(head.name)!;
      levels[key] = { ...place, type: head.type };
      bytes += place.bytes;
    }
    return { ...tensor, fields, ...(input.length > 0 && { input: levels }), bytes };
  });
  return { files, tensors, warnings: single ? fileWarnings(request) : (made?.warnings ?? []) };
}

function withKnown(file: OutputFile, known: OutputFile['known'][number]): OutputFile {
  return { ...file, known: [...file.known, known] };
}

/** Configuration and sidecars: a folder without its tokenizer is a model that nobody can run. */
function companions({ model }: LayoutRequest, parts: FolderParts, made: FolderFiles | undefined): OutputFile[] {
  const files = (parts.files ?? []).map(({ name, text }) => textFile(name, text));
  // How the source was quantized does not hold for the output.
  const { quantization_config: _, ...source } = model.checkpoint.config ?? made?.config ?? {};
  const config = { ...source, ...parts.config };
  if (Object.keys(config).length === 0) {
    throw new RecipeError({
      what: 'a bag of tensors has no configuration to make a model folder of',
      where: model.name,
      next: 'end the name of the output with .safetensors',
    });
  }
  files.push(textFile('config.json', JSON.stringify(config, null, 2)));
  for (const { name, source: copy } of model.checkpoint.sidecars)
    if (!quantizationConfigNames.includes(name)) files.push({ name, size: copy.size, known: [], copy });
  for (const { name, text } of made?.texts ?? []) files.push(textFile(name, text));
  const names = new Set<string>();
  for (const { name } of files) {
    if (names.has(name)) throw new ModelError({ what: 'two files of the output have one name', where: name });
    names.add(name);
  }
  return files;
}

/** What a single file leaves behind. */
function fileWarnings({ model }: LayoutRequest): string[] {
  return model.spec
    ? ['a single .safetensors file holds neither configuration nor tokenizer: name a folder as output to keep the model runnable']
    : [];
}

function textFile(name: string, text: string): OutputFile {
  const bytes = new TextEncoder().encode(text);
  return { name, size: bytes.length, known: [{ offset: 0, bytes }] };
}
