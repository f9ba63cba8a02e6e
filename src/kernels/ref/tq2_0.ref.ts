/** TQ2_0: 256 values of -1, 0, 1 in 2 bits each, then an f16 scale; x = scale * (code - 1). 66 bytes. */
import { blockReference, readHalf, writeHalf } from './blocks.ref.ts';
import { type Ternary, toTernary } from './ternary.ref.ts';

export function packTq2_0({ scale, trits }: Ternary, out: Uint8Array): void {
  trits.forEach((trit, i) => {
    out[byteOf(i)] |= trit << shiftOf(i);
  });
  writeHalf(out, 64, scale);
}

export const tq2_0 = blockReference('tq2_0', {
  encode(x, out) {
    packTq2_0(toTernary(x), out);
  },
  decode(bytes, out) {
    const scale = readHalf(bytes, 64);
    for (let i = 0; i < 256; i++) out[i] = scale * (((bytes[byteOf(i)] >> shiftOf(i)) & 3) - 1);
  },
});

/** 128 values in 32 bytes: value i in byte i mod 32. */
function byteOf(i: number): number {
  return (i >> 7) * 32 + (i & 31);
}

function shiftOf(i: number): number {
  return 2 * ((i >> 5) & 3);
}
