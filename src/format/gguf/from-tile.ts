/**
 * Integer tiles that a ggml type holds exactly: symmetric signed codes under f16 scales that are shared by whole blocks of 32.
 * Every block repeats its group's scale: q4_0, q5_0 and q8_0 mean x = d q as the tile does.
 */
import { encodeF16Array } from '../../numeric/index.ts';
import { spreadRow } from '../../quantize/index.ts';
import type { TileForm } from '../../quantized/form.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { storageBytes } from '../../tensor/storage.ts';

const BLOCK = 32;

/** Writes one block after its scale. values: [32] grid values, out: what follows the two bytes of the scale. */
type BlockPacker = (values: Int8Array, out: Uint8Array) => void;

const packers = {
  /** Nibbles of value + 8, the low ones of values 0..15. */
  q4_0: (values, out) => {
    for (let i = 0; i < 16; i++) out[i] = (values[i]! + 8) | ((values[i + 16]! + 8) << 4);
  },
  /** The fifth bits of value + 16 in four bytes, then nibbles. */
  q5_0: (values, out) => {
    for (let i = 0; i < BLOCK; i++) out[i >> 3]! |= ((values[i]! + 16) >> 4) << (i & 7);
    for (let i = 0; i < 16; i++) out[4 + i] = ((values[i]! + 16) & 15) | (((values[i + 16]! + 16) & 15) << 4);
  },
  q8_0: (values, out) => out.set(new Uint8Array(values.buffer, values.byteOffset, BLOCK)),
} satisfies Record<string, BlockPacker>;

export type ExactType = keyof typeof packers;

/** The smallest ggml type that holds such a tile bit for bit, or undefined. @param cols values of a row */
export function exactTypeOf({ grid, scale, zero }: TileForm, cols: number): ExactType | undefined {
  if (grid.kind !== 'integer' || !grid.signed || zero !== undefined || scale.stored !== 'f16') return undefined;
  if (cols % BLOCK !== 0 || scale.group % BLOCK !== 0) return undefined;
  return grid.bits <= 4 ? 'q4_0' : grid.bits === 5 ? 'q5_0' : 'q8_0';
}

/**
 * The blocks of a tile, [rows, blocks of a row], in the order of the output.
 * @param row which row of the tile, counted from its first, is row `r` of the output
 */
export function exactBlocks(tile: QuantizedTile, type: ExactType, row: (r: number) => number): Uint8Array {
  const { from, to, codes, scale } = tile;
  const cols = tile.shape[1];
  const low = tile.grid.kind === 'integer' ? 2 ** (tile.grid.bits - 1) : 0;
  const rowBytes = storageBytes(type, cols);
  const blockBytes = storageBytes(type, BLOCK);
  const out = new Uint8Array((to - from) * rowBytes);
  const view = new DataView(out.buffer);
  const scales = new Float32Array(cols);
  const values = new Int8Array(BLOCK);
  for (let r = 0; r < to - from; r++) {
    const source = row(r);
    spreadRow(scale!.values, scale!.per, { from, to, cols }, from + source, scales);
    const halves = encodeF16Array(scales);
    for (let b = 0; b < cols / BLOCK; b++) {
      const at = r * rowBytes + b * blockBytes;
      for (let i = 0; i < BLOCK; i++) values[i] = codes[source * cols + b * BLOCK + i]! - low;
      view.setUint16(at, halves[b * BLOCK]!, true);
      packers[type](values, out.subarray(at + 2, at + blockBytes));
    }
  }
  return out;
}
