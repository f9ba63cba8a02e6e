/**
 * llama.cpp's importance matrix (tools/imatrix/imatrix.cpp), in memory: sums of squares of what each weight is multiplied with. The
 * GGUF form is read and written here, the older one in legacy-imatrix.ts.
 */

import { writeGguf } from '../../checkpoint/gguf/index.ts';
import { readTensor } from '../../checkpoint/index.ts';
import type { Checkpoint, GgufValue } from '../../checkpoint/types.ts';
import { FormatError } from '../../errors.ts';
import { bytesOf } from '../../graph/index.ts';
import type { Tensor } from '../../tensor/index.ts';

export interface ImatrixEntry {
  /** Sum of x² over the tokens, [in]. */
  sums: Float32Array;
  /** Tokens. */
  count: number;
}

export interface Imatrix {
  /** By the name of the weight, 'blk.0.ffn_up.weight'. */
  entries: ReadonlyMap<string, ImatrixEntry>;
  /** Tokens of a window. */
  chunkSize: number;
  /** Names of the texts. */
  datasets: readonly string[];
}

/** What llama-imatrix takes where it is not told: the context of one window. */
export const defaultChunkSize = 512;

/** @throws FormatError when it is no importance matrix */
export async function readImatrix(file: Checkpoint): Promise<Imatrix> {
  const names = [...file.tensors.keys()]
    .filter((name) => name.endsWith(sumSuffix))
    .map((name) => name.slice(0, -sumSuffix.length));
  if (names.length === 0)
    throw new FormatError({ what: 'no importance matrix: it has no tensor named *.in_sum2', where: file.name });
  const entries = new Map<string, ImatrixEntry>();
  for (const name of names) {
    const sums = await floats(file, name + sumSuffix);
    const counts = await floats(file, name + countSuffix);
    if (counts.length !== 1)
      throw new FormatError({
        what: 'importance matrices of several experts are not read',
        where: `${file.name}: ${name}`,
        value: counts.length,
        limit: 1,
      });
    if (!(counts[0]! >= 0 && counts[0]! < Number.POSITIVE_INFINITY))
      throw new FormatError({
        what: 'the count of an importance matrix is negative or not finite',
        where: `${file.name}: ${name}`,
        value: `${counts[0]}`,
      });
    entries.set(name, { sums, count: Math.round(counts[0]!) });
  }
  const chunkSize = Number(file.gguf?.get('imatrix.chunk_size')?.value ?? 0);
  const datasets = file.gguf?.get('imatrix.datasets');
  return {
    entries,
    chunkSize: chunkSize > 0 ? chunkSize : defaultChunkSize,
    datasets: datasets?.type === 'array' && datasets.of === 'string' ? datasets.value.map(String) : [],
  };
}

/** The file as llama-imatrix writes it. */
export function writeImatrix({ entries, chunkSize, datasets }: Imatrix): Uint8Array {
  const metadata: [string, GgufValue][] = [
    ['general.type', { type: 'string', value: 'imatrix' }],
    ['imatrix.datasets', { type: 'array', of: 'string', value: datasets }],
    ['imatrix.chunk_count', { type: 'u32', value: chunkCount(entries.values(), chunkSize) }],
    ['imatrix.chunk_size', { type: 'u32', value: chunkSize }],
  ];
  const tensors = sorted(entries).flatMap(([name, { sums, count }]): [string, Tensor][] => [
    [name + sumSuffix, vector(sums)],
    [name + countSuffix, vector(Float32Array.of(count))],
  ]);
  return writeGguf(metadata, new Map(tensors));
}

/** Whole windows that the largest entry has seen. */
export function chunkCount(entries: Iterable<ImatrixEntry>, chunkSize: number): number {
  return Math.floor(Math.max(0, ...[...entries].map(({ count }) => count)) / chunkSize);
}

/** By the bytes of the names, which are ASCII. */
export function sorted(entries: Imatrix['entries']): [string, ImatrixEntry][] {
  return [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
}

const sumSuffix = '.in_sum2';
const countSuffix = '.counts';

function vector(values: Float32Array): Tensor {
  return { type: 'f32', shape: [values.length], bytes: bytesOf(values) };
}

async function floats(file: Checkpoint, name: string): Promise<Float32Array> {
  const entry = file.tensors.get(name);
  if (entry?.type !== 'f32')
    throw new FormatError({ what: 'a tensor of the importance matrix is missing or not F32', where: `${file.name}: ${name}` });
  const { bytes } = await readTensor(entry);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
