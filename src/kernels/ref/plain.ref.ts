/** The unblocked types f32, f16 and bf16 in the shape of block types. */
import { decodeBf16Array, encodeBf16Array } from '../../numeric/bf16.ts';
import { decodeF16Array, encodeF16Array } from '../../numeric/f16.ts';
import type { BlockReference } from '../encoders.ts';

export const f32: BlockReference = {
  encode: (x) => new Uint8Array(x.slice().buffer),
  decode: (bytes, n) => new Float32Array(bytes.slice(0, n * 4).buffer),
};

/** NaN becomes 0x7e00 with its sign on the way in and gets the quiet bit on the way out. */
export const f16: BlockReference = {
  encode: (x) => new Uint8Array(encodeF16Array(x).buffer),
  decode(bytes, n) {
    const out = decodeF16Array(halves(bytes, n));
    const bits = new Uint32Array(out.buffer);
    out.forEach((v, i) => {
      if (Number.isNaN(v)) bits[i] |= 0x400000;
    });
    return out;
  },
};

/** NaN keeps its payload and gets the quiet bit on the way in. */
export const bf16: BlockReference = {
  encode: (x) => new Uint8Array(encodeBf16Array(x).buffer),
  decode: (bytes, n) => decodeBf16Array(halves(bytes, n)),
};

function halves(bytes: Uint8Array, n: number): Uint16Array {
  return new Uint16Array(bytes.slice(0, n * 2).buffer);
}
