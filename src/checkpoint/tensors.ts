import { ModelError } from '../errors.ts';
import { read } from '../io/range.ts';
import { storage } from '../tensor/storage.ts';
import { asMatrix, type Tensor } from '../tensor/tensor.ts';
import type { TensorEntry } from './types.ts';

/**
 * Reads a whole tensor.
 * @throws FileError when its source fails, LimitError when it is too large for one read.
 */
export async function readTensor(entry: TensorEntry): Promise<Tensor> {
  return { type: entry.type, shape: entry.shape, bytes: await read(entry.source, entry.offset, entry.bytes) };
}

/**
 * Reads rows [from, to) of a tensor seen as a matrix: the last dimension is a row.
 * @returns their bytes, [to - from, bytes of a row].
 * @throws ModelError when the rows are not there or a row does not begin on a byte.
 */
export async function readRows(entry: TensorEntry, from: number, to: number): Promise<Uint8Array> {
  const rowBytes = bytesOfRow(entry);
  const { rows } = asMatrix(entry.shape);
  const inside = Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from <= to && to <= rows;
  if (!inside) throw new ModelError({ what: 'rows outside the tensor', where: entry.name, value: [from, to], limit: rows });
  return read(entry.source, entry.offset + from * rowBytes, (to - from) * rowBytes);
}

/**
 * Bytes of one row of a tensor seen as a matrix.
 * @throws ModelError when rows are not whole blocks of the type.
 */
export function bytesOfRow(entry: TensorEntry): number {
  const { cols } = asMatrix(entry.shape);
  const { block, bytes } = storage[entry.type];
  if (cols % block !== 0)
    throw new ModelError({
      what: `a row is not whole blocks of ${entry.type}`,
      where: entry.name,
      value: cols,
      limit: `multiple of ${block}`,
    });
  return (cols / block) * bytes;
}
