// IQ4_NL: f16 scale, 16 bytes of codes; x = scale * codebook[code]. See ref/iq4_nl.ref.ts.
import { BLOCK, sumOfSquares } from './blocks';
import { loadHalfSplat, toHalf } from './half';
import { bend, codebookScale, decodeCodes, storeCodes } from './iq4';
import { quadExtreme } from './symmetric';

const SIZE: usize = 18;
const extremes: usize = memory.data(16, 16); // f32[4]
const bent: usize = memory.data(128, 16); // f32[32]

export function encode_iq4_nl(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  const blocks = (<usize>rows * <usize>cols) >> 5;
  const rowBytes = <usize>cols << 2;
  let column: usize = 0;
  for (let i: usize = 0; i < blocks; i += 4) {
    v128.store(extremes, quadExtreme(x, i, blocks - 1));
    const end = min(i + 4, blocks);
    for (let b = i, lane: usize = 0; b < end; b++, lane += 4, out += SIZE) {
      const from = x + b * BLOCK;
      if (weights) bend(from, weights + column, sumOfSquares(from, 32) * (2.0 / 32.0), bent, 32);
      const scale = codebookScale(from, load<f32>(extremes + lane), weights ? bent : 0);
      store<u16>(out, toHalf(scale));
      storeCodes(from, scale, out + 2);
      column += BLOCK;
      if (column == rowBytes) column = 0;
    }
  }
}

export function decode_iq4_nl(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE, out += BLOCK) {
    decodeCodes(blocks + 2, out, loadHalfSplat(blocks));
  }
}
