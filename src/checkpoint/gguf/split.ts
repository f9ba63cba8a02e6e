import { FormatError } from '../../errors.ts';
import type { ByteSource } from '../../io/types.ts';
import type { GgufMetadata, TensorEntry } from '../types.ts';
import { MAX_SPLITS } from './limits.ts';
import { type GgufFile, readGguf } from './read.ts';

/** Opens a file beside the one that was given. */
export type Sibling = (name: string) => Promise<ByteSource>;

/** A whole GGUF model: one file, or the files of a split one in order. */
export interface GgufModel {
  /** Of the first file: the others repeat only what describes the split. */
  readonly metadata: GgufMetadata;
  readonly alignment: number;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly sources: readonly ByteSource[];
}

const splitName = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

/** Name of file `index` (from 0) of a model split into `count` files. */
export function splitFileName(prefix: string, index: number, count: number): string {
  const number = (n: number) => String(n).padStart(5, '0');
  return `${prefix}-${number(index + 1)}-of-${number(count)}.gguf`;
}

/**
 * Opens a GGUF model from any of its files.
 * @param name the file's own name, from which the names of its siblings follow.
 * @throws FormatError as readGguf, and when the files do not belong together.
 */
export async function openGguf(source: ByteSource, name: string, sibling?: Sibling): Promise<GgufModel> {
  const file = await readGguf(source);
  const count = splitCount(file.metadata, source.name);
  if (count <= 1) return { ...file, sources: [source] };

  const [, prefix, , of] = splitName.exec(name) ?? [];
  if (prefix === undefined || Number(of) !== count || !sibling)
    throw new FormatError({
      what: `one of ${count} files of a split model, under a name that does not lead to the others`,
      where: source.name,
      next: `name it like ${splitFileName('model', 0, count)} and put the others beside it`,
    });
  const files: GgufFile[] = [];
  const sources: ByteSource[] = [];
  try {
    for (let i = 0; i < count; i++) {
      const fileName = splitFileName(prefix, i, count);
      const one = fileName === name ? source : await sibling(fileName);
      sources.push(one);
      files.push(one === source ? file : await readGguf(one));
      checkPart(files[i]!, one.name, i, count);
    }
    return { metadata: files[0]!.metadata, alignment: files[0]!.alignment, tensors: joined(files, source.name), sources };
  } catch (error) {
    for (const one of sources) if (one !== source) await one.close();
    throw error;
  }
}

function integer(metadata: GgufMetadata, key: string): number | undefined {
  const value = metadata.get(key)?.value;
  return typeof value === 'number' && Number.isInteger(value) ? value : undefined;
}

function splitCount(metadata: GgufMetadata, where: string): number {
  const count = metadata.has('split.count') ? integer(metadata, 'split.count') : 0;
  if (count !== undefined && count >= 0 && count <= MAX_SPLITS) return count;
  throw new FormatError({
    what: 'split.count is not a usable number',
    where,
    value: metadata.get('split.count')?.value,
    limit: MAX_SPLITS,
  });
}

function checkPart({ metadata }: GgufFile, where: string, index: number, count: number): void {
  const [number, of] = [integer(metadata, 'split.no'), integer(metadata, 'split.count')];
  if (number !== index || of !== count)
    throw new FormatError({
      what: 'file does not belong to this place of the split model',
      where,
      value: `split.no ${number}, split.count ${of}`,
      limit: `split.no ${index}, split.count ${count}`,
    });
}

function joined(files: readonly GgufFile[], where: string): Map<string, TensorEntry> {
  const tensors = new Map<string, TensorEntry>();
  for (const file of files)
    for (const [name, entry] of file.tensors) {
      if (tensors.has(name))
        throw new FormatError({ what: 'two files of the split model hold this tensor', where: `${where}: ${name}` });
      tensors.set(name, entry);
    }
  const total = integer(files[0]!.metadata, 'split.tensors.count');
  if (total !== undefined && total !== tensors.size)
    throw new FormatError({ what: 'the split model lacks tensors', where, value: tensors.size, limit: total });
  return tensors;
}
