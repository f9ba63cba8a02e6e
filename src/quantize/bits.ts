import { minifloat } from '../numeric/minifloat.ts';
import type { Levels, QuantizedTile, Stored } from '../quantized/types.ts';
import { sharedCount } from './granularity.ts';

const storedBits = { f32: 32, f16: 16, bf16: 16, e4m3: 8, e8m0: 8 } as const;

/** Bits that one stored level takes. */
export function bitsOf(stored: Stored): number {
  return typeof stored === 'string' ? storedBits[stored] : stored.bits;
}

/** Bits of code a value; a vector codebook shares a code among `dim` values. */
function codeBits({ grid, from, to, shape, codes }: QuantizedTile): number {
  const cols = shape[1];
  switch (grid.kind) {
    case 'integer':
      return grid.bits;
    case 'minifloat':
      return minifloat(grid.format).bits;
    case 'codebook': {
      const entries = grid.values.length / grid.dim / sharedCount(grid.per, { from, to, cols });
      return Math.ceil(Math.log2(entries)) / grid.dim;
    }
    case 'opaque':
      return (codes.byteLength * 8) / ((to - from) * cols);
  }
}

/**
 * Bits a value with everything that is stored for it: b + (scale bits + zero bits) / values that share them, parents of
 * nested levels included. Codebook tables and what is kept apart (sparse, columns, lowRank) are not counted.
 */
export function effectiveBits(tile: QuantizedTile): number {
  const values = (tile.to - tile.from) * tile.shape[1];
  if (values === 0) return 0;
  return codeBits(tile) + (levelBits(tile.scale) + levelBits(tile.zero?.levels)) / values;
}

function levelBits(levels: Levels | undefined): number {
  return levels ? levels.values.length * bitsOf(levels.stored) + levelBits(levels.parent) : 0;
}
