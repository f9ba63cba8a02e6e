/**
 * The older form of llama.cpp's importance matrix, .dat: i32 entries; for each i32 length of the name, the name, i32 calls, i32
 * values, f32 values (means times calls); then, in newer files, i32 chunks, i32 length of the text's name, the name. Little-endian.
 */
import { FormatError } from '../../errors.ts';
import { read } from '../../io/index.ts';
import type { ByteSource } from '../../io/types.ts';
import { chunkCount, defaultChunkSize, type Imatrix, type ImatrixEntry, sorted } from './imatrix.ts';

/** ggml's own limit is 63. */
const MAX_NAME_BYTES = 1024;

/**
 * Calls are windows, whose size the file does not tell: llama.cpp's default is assumed, as llama.cpp itself does.
 * @throws FormatError for anything else
 */
export async function readLegacyImatrix(source: ByteSource): Promise<Imatrix> {
  const file = new LegacyCursor(await read(source, 0, source.size), source.name);
  const count = file.count('entries', Number.MAX_SAFE_INTEGER);
  if (count === 0) throw file.fail('no importance matrix: it has no entries');
  const entries = new Map<string, ImatrixEntry>();
  for (let i = 0; i < count; i++) {
    const name = file.string(MAX_NAME_BYTES);
    if (name === '' || entries.has(name)) throw file.fail('the name of an entry is empty or there twice', name);
    const calls = file.count('calls', Number.MAX_SAFE_INTEGER);
    const values = file.floats(file.count('values', Number.MAX_SAFE_INTEGER));
    entries.set(name, { sums: values.map((value) => value * defaultChunkSize), count: calls * defaultChunkSize });
  }
  const datasets: string[] = [];
  if (!file.atEnd()) {
    file.count('chunks', Number.MAX_SAFE_INTEGER);
    datasets.push(file.string(Number.MAX_SAFE_INTEGER));
  }
  if (!file.atEnd()) throw file.fail('bytes after the end of the importance matrix');
  return { entries, chunkSize: defaultChunkSize, datasets };
}

/** The file as llama-imatrix writes it with `--output-format dat`. */
export function writeLegacyImatrix({ entries, chunkSize, datasets }: Imatrix): Uint8Array {
  const parts: Uint8Array[] = [];
  const integer = (value: number) => parts.push(new Uint8Array(Int32Array.of(value).buffer));
  const string = (text: string) => {
    const bytes = new TextEncoder().encode(text);
    integer(bytes.length);
    parts.push(bytes);
  };
  integer(entries.size);
  for (const [name, { sums, count }] of sorted(entries)) {
    const calls = Math.ceil(count / chunkSize);
    string(name);
    integer(calls);
    integer(sums.length);
    parts.push(new Uint8Array(sums.map((sum) => Math.fround(sum / count) * calls).buffer));
  }
  integer(chunkCount(entries.values(), chunkSize));
  string(datasets.at(-1) ?? '');
  return joined(parts);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Reads forward; nothing is allocated before it is known to be in the file. */
class LegacyCursor {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #where: string;
  #at = 0;

  constructor(bytes: Uint8Array, where: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#where = where;
  }

  fail(what: string, value?: unknown, limit?: unknown): FormatError {
    const facts = { ...(value !== undefined && { value }), ...(limit !== undefined && { limit }) };
    return new FormatError({ what, where: `${this.#where} at byte ${this.#at}`, ...facts });
  }

  atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  count(what: string, most: number): number {
    const value = this.#take(4, () => this.#view.getInt32(this.#at, true));
    if (value < 0 || value > most) throw this.fail(`not an importance matrix: the number of ${what} is impossible`, value);
    return value;
  }

  string(most: number): string {
    const length = this.count('bytes of a name', most);
    return this.#take(length, () => {
      try {
        return new TextDecoder('utf-8', { fatal: true }).decode(this.#bytes.subarray(this.#at, this.#at + length));
      } catch {
        throw this.fail('a name is not valid UTF-8');
      }
    });
  }

  floats(length: number): Float32Array {
    return this.#take(4 * length, () => new Float32Array(this.#bytes.slice(this.#at, this.#at + 4 * length).buffer));
  }

  #take<T>(length: number, get: () => T): T {
    if (length > this.#bytes.length - this.#at)
      throw this.fail('the importance matrix reaches past the end of the file', length, this.#bytes.length - this.#at);
    const value = get();
    this.#at += length;
    return value;
  }
}
