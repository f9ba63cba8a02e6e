/**
 * Decoding of stored rows into f32, in the thread that needs them. The bytes of a tile are fetched in one read each field; values
 * are decoded run by run into a scratch that fits a core's cache.
 */
import { FormatError } from '../errors.ts';
import type { ByteSource, SourceHandle } from '../io/types.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { dequantizeTile } from '../quantize/dequantize.ts';
import type { QuantizedTile } from '../quantized/types.ts';
import type { StorageType } from '../tensor/storage.ts';
import { readField } from './field-ranges.ts';
import { unpackTile } from './packings.ts';
import { storedRow } from './row-order.ts';
import type { StoredTensor } from './types.ts';

/** Opens what a handle names; a worker keeps what it opened. */
export type OpenSource = (handle: SourceHandle) => Promise<ByteSource>;

/** Rows of one stored tensor, fetched and ready to be decoded. */
export interface FetchedRows {
  /** Rows held. */
  readonly count: number;
  /** Whether the values are numbers that can be decoded to f32; integers and booleans are only copied. */
  readonly decodable: boolean;
  /** Decodes rows [first, first + count) of the tile to f32 at `out` in the kernels' memory. */
  decode(first: number, count: number, out: number): void;
  /** The codes and levels, when the tensor is stored so. */
  readonly tile?: QuantizedTile;
  /**
   * Where the stored bytes lie, when they are plain storage: for copies without decoding. Row r of the result is stored row
   * `row(r)`; they are the same where `ordered`.
   */
  readonly raw?: { type: StorageType; at: number; rowBytes: number; ordered: boolean; row(r: number): number };
}

/**
 * Fetches rows [from, to) of `stored`. They must begin and end at multiples of `rowMultipleOf`.
 * Everything lies in the kernels' arena until the caller resets it.
 */
export async function fetchRows(
  kernels: Kernels,
  open: OpenSource,
  stored: StoredTensor,
  from: number,
  to: number,
): Promise<FetchedRows> {
  const { cols, order } = stored;
  const count = to - from;
  const at = order ? (r: number) => storedRow(order, stored.rows, from + r) - from : (r: number) => r;
  if (stored.form === 'values') {
    return {
      count,
      decodable: true,
      decode: (first, n, out) =>
        kernels.f32(out, n * cols).set(stored.values.subarray((from + first) * cols, (from + first + n) * cols)),
    };
  }
  if (stored.form === 'storage') {
    const { data, type } = stored;
    const decoder = `decode_${type}`;
    const decodable = type === 'f32' || kernels.has(decoder);
    const base = kernels.alloc(count * data.rowBytes);
    const source = await open(data.handle);
    await source.readInto(kernels.bytes(base, count * data.rowBytes), data.offset + from * data.rowBytes);
    const widen = (src: number, out: number, n: number) => {
      if (type === 'f32') kernels.bytes(out, n * 4).set(kernels.bytes(src, n * 4));
      else if (decodable) kernels.call(decoder, src, out, n);
      else throw new FormatError({ what: `values of type ${type} cannot be decoded`, next: 'keep the tensor as it is' });
    };
    return {
      count,
      decodable,
      decode(first, n, out) {
        if (!order) return widen(base + first * data.rowBytes, out, n * cols);
        for (let r = 0; r < n; r++) widen(base + at(first + r) * data.rowBytes, out + r * cols * 4, cols);
      },
      raw: { type, at: base, rowBytes: data.rowBytes, ordered: order === undefined, row: at },
    };
  }
  const fields: Record<string, Uint8Array> = {};
  for (const [key, field] of Object.entries(stored.fields))
    fields[key] = await readField(await open(field.handle), field, from, to);
  const tile = unpackTile(stored.tile, fields, { rows: stored.rows, cols, from, to });
  const values = dequantizeTile(tile);
  return {
    count,
    decodable: true,
    tile,
    decode(first, n, out) {
      const target = kernels.f32(out, n * cols);
      for (let r = 0; r < n; r++) {
        const row = at(first + r);
        target.set(values.subarray(row * cols, (row + 1) * cols), r * cols);
      }
    },
  };
}
