/**
 * Tiles that a ggml type holds exactly: codes of its values under scales that it can store, shared by whole blocks. Every block
 * repeats its group's scale.
 */
import { encodeF16 } from '../../numeric/index.ts';
import { spreadRow } from '../../quantize/index.ts';
import type { GridForm, LevelForm, TileForm } from '../../quantized/form.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { type StorageType, storage, storageBytes } from '../../tensor/storage.ts';

/** Writes one block. codes: [block], out: zeroed. */
type BlockPacker = (codes: Uint8Array, scale: number, out: Uint8Array) => void;

interface Packing {
  holds(grid: GridForm): boolean;
  stored: LevelForm['stored'];
  pack: BlockPacker;
}

const signedBits =
  (least: number, most: number): Packing['holds'] =>
  (grid) =>
    grid.kind === 'integer' && grid.signed && grid.bits >= least && grid.bits <= most;

const listed =
  (...values: number[]): Packing['holds'] =>
  (grid) =>
    grid.kind === 'table' && grid.values.length === values.length && grid.values.every((value, i) => value === values[i]);

/** An f16 scale at byte `at`. */
function half(scale: number, at: number, out: Uint8Array): void {
  const bits = encodeF16(scale);
  out[at] = bits & 255;
  out[at + 1] = bits >> 8;
}

/** Nibbles: the low ones of values 0..15. */
function nibbles(codes: ArrayLike<number>, out: Uint8Array): void {
  for (let i = 0; i < 16; i++) out[i] = (codes[i]! & 15) | ((codes[i + 16]! & 15) << 4);
}

/** E2M1's negative zero has no code of its own in ggml. */
const positiveZero = (code: number): number => (code === 8 ? 0 : code);

/**
 * From few bits to many; the first that fits is taken. Codes of integers are counted from the lowest, as many as `bits` says: they
 * come here as values, in two's complement.
 */
const packings = {
  q4_0: {
    holds: signedBits(1, 4),
    stored: 'f16',
    pack: (values, scale, out) => {
      half(scale, 0, out);
      nibbles(
        values.map((value) => value + 8),
        out.subarray(2),
      );
    },
  },
  q5_0: {
    holds: signedBits(5, 5),
    stored: 'f16',
    pack: (values, scale, out) => {
      const codes = values.map((value) => value + 16);
      half(scale, 0, out);
      codes.forEach((code, i) => {
        out[2 + (i >> 3)]! |= ((code >> 4) & 1) << (i & 7);
      });
      nibbles(codes, out.subarray(6));
    },
  },
  q8_0: {
    holds: signedBits(6, 8),
    stored: 'f16',
    pack: (values, scale, out) => {
      half(scale, 0, out);
      out.set(values, 2);
    },
  },
  mxfp4: {
    holds: (grid) => grid.kind === 'minifloat' && grid.format === 'e2m1',
    stored: 'e8m0',
    pack: (codes, scale, out) => {
      out[0] = Math.log2(scale) + 127;
      nibbles(codes.map(positiveZero), out.subarray(1));
    },
  },
  q1_0: {
    holds: listed(-1, 1),
    stored: 'f16',
    pack: (codes, scale, out) => {
      half(scale, 0, out);
      codes.forEach((code, i) => {
        out[2 + (i >> 3)]! |= code << (i & 7);
      });
    },
  },
  /** 128 values in 32 bytes, value i in byte i mod 32. */
  tq2_0: {
    holds: listed(-1, 0, 1),
    stored: 'f16',
    pack: (codes, scale, out) => {
      codes.forEach((code, i) => {
        out[(i >> 7) * 32 + (i & 31)]! |= code << (2 * ((i >> 5) & 3));
      });
      half(scale, 64, out);
    },
  },
  q2_0: {
    holds: listed(-1, 0, 1),
    stored: 'f16',
    pack: (codes, scale, out) => {
      half(scale, 0, out);
      codes.forEach((code, i) => {
        out[2 + (i >> 2)]! |= code << (2 * (i & 3));
      });
    },
  },
} satisfies Partial<Record<StorageType, Packing>>;

export type ExactType = keyof typeof packings;

/** The smallest ggml type that holds such a tile bit for bit, or undefined. @param cols values of a row */
export function exactTypeOf(form: TileForm, cols: number): ExactType | undefined {
  const { grid, scale, zero, order, columnScale, sparse, columns, lowRank } = form;
  if (zero || order || columnScale || sparse || columns || lowRank) return undefined;
  return (Object.keys(packings) as ExactType[]).find((type) => {
    const { holds, stored } = packings[type];
    const { block } = storage[type];
    return holds(grid) && scale.stored === stored && cols % block === 0 && scale.group % block === 0;
  });
}

/**
 * The blocks of a tile, [rows, blocks of a row], in the order of the output.
 * @param row which row of the tile, counted from its first, is row `r` of the output
 */
export function exactBlocks(tile: QuantizedTile, type: ExactType, row: (r: number) => number): Uint8Array {
  const { from, to, codes, scale } = tile;
  const cols = tile.shape[1];
  const low = tile.grid.kind === 'integer' ? 2 ** (tile.grid.bits - 1) : 0;
  const { block, bytes } = storage[type];
  const rowBytes = storageBytes(type, cols);
  const out = new Uint8Array((to - from) * rowBytes);
  const scales = new Float32Array(cols);
  const values = new Uint8Array(block);
  for (let r = 0; r < to - from; r++) {
    const source = row(r);
    spreadRow(scale!.values, scale!.per, { from, to, cols }, from + source, scales);
    for (let b = 0; b < cols / block; b++) {
      const at = r * rowBytes + b * bytes;
      for (let i = 0; i < block; i++) values[i] = codes[source * cols + b * block + i]! - low;
      packings[type].pack(values, scales[b * block]!, out.subarray(at, at + bytes));
    }
  }
  return out;
}
