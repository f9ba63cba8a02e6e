// TQ1_0: 52 bytes of five (the last four: of four) trits each, f16 scale; x = scale * (trit - 1). See ref/tq1_0.ref.ts.
import { storeScaled16 } from './blocks';
import { loadHalfSplat, toHalf } from './half';
import { toTernary, trits } from './ternary';

const SIZE: usize = 54;
/** u8[243]: number -> ceil(256 number / 243), from which multiplying by 3 brings the trits out at the top. */
const fractions: usize = memory.data(243, 16);
const digits: usize = memory.data(16, 16);

fillFractions();

function fillFractions(): void {
  for (let number: i32 = 0; number < 243; number++) store<u8>(fractions + number, (number * 256 + 242) / 243);
}

export function encode_tq1_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  for (const end = x + (<usize>rows * <usize>cols << 2); x < end; x += 1024, out += SIZE) tq1_0Block(toTernary(x, 256, 1), out);
}

/** The block of the `trits`. */
export function tq1_0Block(scale: f32, out: usize): void {
  storeFives(trits, 32, out);
  storeFives(trits + 16, 32, out + 16);
  storeFives(trits + 160, 16, out + 32);
  for (let b: usize = 0; b < 4; b++) {
    let number: usize = 0;
    for (let n: usize = 0; n < 16; n += 4) number = 3 * number + load<u8>(trits + 240 + b + n);
    store<u8>(out + b, load<u8>(fractions + 3 * number), 48);
  }
  store<u16>(out, toHalf(scale), 52);
}

/** 16 bytes, of which each takes five trits that lie `stride` apart */
@inline
function storeFives(from: usize, stride: usize, out: usize): void {
  let number = v128.load(from);
  for (let n = 1; n < 5; n++) {
    from += stride;
    number = i8x16.add(i8x16.add(i8x16.add(number, number), number), v128.load(from));
  }
  v128.store(digits, number);
  for (let b: usize = 0; b < 16; b++) store<u8>(out + b, load<u8>(fractions + load<u8>(digits + b)));
}

export function decode_tq1_0(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE, out += 1024) {
    const scale = loadHalfSplat(blocks + 52);
    decodeFives(blocks, out, 128, scale);
    decodeFives(blocks + 16, out + 64, 128, scale);
    decodeFives(blocks + 32, out + 640, 64, scale);
    let rest = v128.load32_zero(blocks + 48);
    for (let m: usize = 0; m < 16; m += 4, rest = timesThree(rest)) v128.store32_lane(digits + m, topTrit(rest), 0);
    storeScaled16(out + 960, v128.load(digits), scale);
  }
}

@inline
function decodeFives(blocks: usize, out: usize, stride: usize, scale: v128): void {
  let rest = v128.load(blocks);
  for (let m = 0; m < 5; m++, out += stride, rest = timesThree(rest)) storeScaled16(out, topTrit(rest), scale);
}

@inline
function timesThree(bytes: v128): v128 {
  return i8x16.add(i8x16.add(bytes, bytes), bytes);
}

/** (3 byte >> 8) - 1; the comparisons give -1 where they hold */
@inline
function topTrit(bytes: v128): v128 {
  const one = i8x16.ge_u(bytes, i8x16.splat(86)), two = i8x16.ge_u(bytes, i8x16.splat(<i8>171));
  return i8x16.sub(i8x16.sub(i8x16.splat(-1), one), two);
}
