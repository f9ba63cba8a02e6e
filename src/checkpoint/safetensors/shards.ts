import { FormatError } from '../../errors.ts';
import { JsonScanner } from '../json.ts';
import { plainBytes } from './read.ts';
import type { TensorHead } from './write.ts';

/** The file that says which shard holds which tensor. */
export const SHARD_INDEX = 'model.safetensors.index.json';
export const SINGLE_FILE = 'model.safetensors';

/** Shard names are joined to the model's folder or URL, so only a plain file name may come from the index (CWE-22). */
const plainName = /^[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors$/;

/**
 * Reads a shard index.
 * @returns tensor name -> file name, in index order.
 * @throws FormatError when it is not an index or names files outside its folder.
 */
export function readShardIndex(text: string, where: string): Map<string, string> {
  const scanner = new JsonScanner(text, where);
  let files: Map<string, string> | undefined;
  scanner.object((key) => {
    if (key === 'weight_map') files = readWeightMap(scanner, where);
    // `metadata` holds total_size, which writers fill in different ways: the shards themselves say what they hold.
    else scanner.value();
  });
  scanner.end();
  if (!files || files.size === 0) throw new FormatError({ what: 'shard index names no tensors', where });
  return files;
}

function readWeightMap(scanner: JsonScanner, where: string): Map<string, string> {
  const files = new Map<string, string>();
  scanner.object((tensor) => {
    const file = scanner.string();
    if (!plainName.test(file))
      throw new FormatError({ what: 'shard is not a plain .safetensors file name', where: `${where}: ${tensor}`, value: file });
    files.set(tensor, file);
  });
  return files;
}

export interface Shard<T extends TensorHead> {
  readonly file: string;
  readonly tensors: readonly T[];
  /** Bytes of tensor data. */
  readonly bytes: number;
}

/**
 * Divides tensors, in their order, into shards of at most `maxBytes` of tensor data; a tensor that is larger has a shard of its
 * own. One shard is the plain model.safetensors, which needs no index.
 */
export function planShards<T extends TensorHead>(tensors: Iterable<T>, maxBytes = Number.POSITIVE_INFINITY): Shard<T>[] {
  const groups: { tensors: T[]; bytes: number }[] = [{ tensors: [], bytes: 0 }];
  for (const tensor of tensors) {
    const bytes = plainBytes(tensor.type, tensor.shape, tensor.name);
    let group = groups.at(-1)!;
    if (group.tensors.length > 0 && group.bytes + bytes > maxBytes) {
      group = { tensors: [], bytes: 0 };
      groups.push(group);
    }
    group.tensors.push(tensor);
    group.bytes += bytes;
  }
  const number = (n: number) => String(n).padStart(5, '0');
  return groups.map((group, i) => ({
    file: groups.length === 1 ? SINGLE_FILE : `model-${number(i + 1)}-of-${number(groups.length)}.safetensors`,
    ...group,
  }));
}

/** The text of the index of several shards; total_size counts tensor bytes only. */
export function shardIndexText(shards: readonly Shard<TensorHead>[]): string {
  const total = shards.reduce((sum, { bytes }) => sum + bytes, 0);
  const rows = shards.flatMap(({ file, tensors }) => tensors.map(({ name }) => `    ${JSON.stringify(name)}: "${file}"`));
  return `{\n  "metadata": {\n    "total_size": ${total}\n  },\n  "weight_map": {\n${rows.join(',\n')}\n  }\n}`;
}
