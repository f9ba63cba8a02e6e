/** ggml blocks that mean the same as integer tiles: x = d q with an f16 scale for 32 values. */
import { decodeF16 } from '../../numeric/f16.ts';
import type { TileForm } from '../../quantized/form.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { type StorageType, storage } from '../../tensor/storage.ts';
import { gridIn } from '../tile-fields.ts';

const BLOCK = 32;

/** block: the bytes after the scale -> codes [32]. */
type BlockReader = (block: Uint8Array, codes: Uint8Array) => void;

const readers: Partial<Record<StorageType, { bits: number; read: BlockReader }>> = {
  q4_0: {
    bits: 4,
    read(block, codes) {
      for (let i = 0; i < 16; i++) {
        codes[i] = block[i]! & 15;
        codes[i + 16] = block[i]! >> 4;
      }
    },
  },
  q8_0: {
    bits: 8,
    read(block, codes) {
      for (let i = 0; i < BLOCK; i++) codes[i] = block[i]! ^ 0x80;
    },
  },
};

/** The form of the tile that holds the same values, where there is one. */
export function exactFormOf(type: StorageType): TileForm | undefined {
  const bits = readers[type]?.bits;
  return bits === undefined
    ? undefined
    : { grid: { kind: 'integer', bits, signed: true }, scale: { stored: 'f16', group: BLOCK } };
}

/**
 * @param bytes [to - from, cols / 32] blocks
 * @param row which row of `bytes` is row `r` of the tile
 */
export function tileOfBlocks(
  bytes: Uint8Array,
  type: StorageType,
  place: Pick<QuantizedTile, 'name' | 'shape' | 'from' | 'to'>,
  row: (r: number) => number,
): QuantizedTile {
  const form = exactFormOf(type)!;
  const { read } = readers[type]!;
  const cols = place.shape[1];
  const rows = place.to - place.from;
  const { bytes: blockBytes } = storage[type];
  const codes = new Uint8Array(rows * cols);
  const scales = new Float32Array((rows * cols) / BLOCK);
  for (let r = 0, b = 0; r < rows; r++) {
    let at = ((row(r) * cols) / BLOCK) * blockBytes;
    for (let c = 0; c < cols; c += BLOCK, b++, at += blockBytes) {
      scales[b] = decodeF16(bytes[at]! | (bytes[at + 1]! << 8));
      read(bytes.subarray(at + 2, at + blockBytes), codes.subarray(b * BLOCK, (b + 1) * BLOCK));
    }
  }
  return { ...place, grid: gridIn(form.grid), codes, scale: { values: scales, stored: 'f16', per: { rows: 1, cols: BLOCK } } };
}
