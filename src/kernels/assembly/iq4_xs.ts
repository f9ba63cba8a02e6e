// IQ4_XS: f16 scale, u16 of high scale bits, 4 bytes of low ones, 128 bytes of codes in 8 groups of 32;
// x = scale * (groupScale - 32) * codebook[code]. See ref/iq4_xs.ref.ts.
import { BLOCK, sumOfSquares } from './blocks';
import { loadHalf, toHalf } from './half';
import { bend, codebookScale, decodeCodes, storeCodes } from './iq4';
import { nearestInt } from './k_common';
import { quadExtreme } from './symmetric';

const SIZE: usize = 136;
const SUPER: usize = 1024; // bytes of 256 f32
const extremes: usize = memory.data(32, 16); // f32[8]
const scales: usize = memory.data(32, 16); // f32[8]
const bent: usize = memory.data(1024, 16); // f32[256]

export function encode_iq4_xs(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  const end = x + ((<usize>rows * <usize>cols) << 2);
  const rowBytes = <usize>cols << 2;
  let column: usize = 0;
  for (; x < end; x += SUPER, out += SIZE) {
    if (weights) bend(x, weights + column, sumOfSquares(x, 256) * (2.0 / 256.0), bent, 256);
    encodeBlock(x, out, weights != 0);
    column += SUPER;
    if (column == rowBytes) column = 0;
  }
}

function encodeBlock(x: usize, out: usize, weighted: bool): void {
  v128.store(extremes, quadExtreme(x, 0, 7));
  v128.store(extremes, quadExtreme(x, 4, 7), 16);
  let largest: f32 = 0;
  for (let g: usize = 0; g < 8; g++) {
    const scale = codebookScale(x + g * BLOCK, load<f32>(extremes + 4 * g), weighted ? bent + g * BLOCK : 0);
    store<f32>(scales + 4 * g, scale);
    if (abs(scale) > abs(largest)) largest = scale;
  }
  const scale = -largest / 32;
  const inverse: f32 = scale != 0 ? 1 / scale : 0;
  let high: i32 = 0, low: i32 = 0;
  for (let g: usize = 0; g < 8; g++) {
    const level = max(-32, min(31, nearestInt(inverse * load<f32>(scales + 4 * g))));
    high |= ((level + 32) >> 4) << (2 * <i32>g);
    low |= ((level + 32) & 15) << (4 * <i32>g);
    storeCodes(x + g * BLOCK, scale * <f32>level, out + 8 + 16 * g);
  }
  store<u16>(out, toHalf(scale));
  store<u16>(out, <u16>high, 2);
  store<u32>(out, low, 4);
}

export function decode_iq4_xs(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE) {
    const scale = loadHalf(blocks);
    const high: i32 = load<u16>(blocks, 2), low: i32 = load<u32>(blocks, 4);
    for (let g: i32 = 0; g < 8; g++, out += BLOCK) {
      const level = ((low >> (4 * g)) & 15) | (((high >> (2 * g)) & 3) << 4);
      decodeCodes(blocks + 8 + <usize>(16 * g), out, f32x4.splat(scale * <f32>(level - 32)));
    }
  }
}
