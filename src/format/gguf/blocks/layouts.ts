/**
 * The ggml types whose values are a level times a code: where codes and levels lie in a block. Every one means
 * x = scale * value(code) + minimum, with a scale (and minimum) for each group of the block.
 * Source: ggml, src/ggml-common.h (the block structs); kernels/ref has the decoders.
 */
import { RecipeError } from '../../../errors.ts';
import type { Grid } from '../../../quantized/types.ts';
import { type Plane, readPlanes, writePlanes } from './planes.ts';

/** Codes of a block's group levels under its f16. */
interface LevelCodes {
  groups: number;
  bits: number;
  /** What code 0 stands for; minima start at 0. */
  lowest: number;
  /** The codes of all scales, then those of all minima, from the block at `at`. out: [groups] or [2 groups] */
  read(bytes: Uint8Array, at: number, out: Uint8Array): void;
  write(codes: Uint8Array, bytes: Uint8Array, at: number): void;
}

export interface BlockLayout {
  grid: Exclude<Grid, { kind: 'opaque' | 'minifloat' }>;
  codes: readonly Plane[];
  /** Codes are stored in two's complement: the top bit of each is turned. */
  signedBytes?: true;
  /** Byte offset of the f16 scale. */
  d: number;
  /** Byte offset of the f16 minimum; `subtracted`: x = .. - dmin * code. */
  min?: { at: number; subtracted: boolean };
  /** Absent: the f16 themselves are the levels of the whole block. */
  levels?: LevelCodes;
}

export type LevelType =
  | 'q4_0'
  | 'q4_1'
  | 'q5_0'
  | 'q5_1'
  | 'q8_0'
  | 'q2_k'
  | 'q3_k'
  | 'q4_k'
  | 'q5_k'
  | 'q6_k'
  | 'iq4_nl'
  | 'iq4_xs';

const integer = (bits: number, signed: boolean) => ({ kind: 'integer', bits, signed }) as const;

/** kvalues_iq4nl */
const iq4: BlockLayout['grid'] = {
  kind: 'codebook',
  values: Float32Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113),
  dim: 1,
  per: { rows: 0, cols: 0 },
};

const plane = (at: number, bits: Plane['bits'], stride: number, shift = 0): Plane => ({ at, bits, stride, shift });

function planar(groups: number, bits: number, lowest: number, count: number, ...planes: Plane[]): LevelCodes {
  return {
    groups,
    bits,
    lowest,
    read: (bytes, at, out) => readPlanes(planes, bytes, at, out, 0, count),
    write: (codes, bytes, at) => writePlanes(planes, codes, 0, count, bytes, at),
  };
}

/** Q4_K and Q5_K: 8 scales and 8 minima in 12 bytes; the first eight bytes hold the upper bits of the last four (get_scale_min_k4). */
const sixBits: LevelCodes = {
  groups: 8,
  bits: 6,
  lowest: 0,
  read(bytes, at, out) {
    for (let j = 0; j < 4; j++) {
      const [scale, min, low] = [bytes[at + 4 + j], bytes[at + 8 + j], bytes[at + 12 + j]];
      out[j] = scale & 63;
      out[j + 8] = min & 63;
      out[j + 4] = (low & 15) | ((scale >> 6) << 4);
      out[j + 12] = (low >> 4) | ((min >> 6) << 4);
    }
  },
  write(codes, bytes, at) {
    for (let j = 0; j < 4; j++) {
      bytes[at + 4 + j] = codes[j] | ((codes[j + 4] >> 4) << 6);
      bytes[at + 8 + j] = codes[j + 8] | ((codes[j + 12] >> 4) << 6);
      bytes[at + 12 + j] = (codes[j + 4] & 15) | ((codes[j + 12] & 15) << 4);
    }
  },
};

export const layouts: Readonly<Record<LevelType, BlockLayout>> = {
  q4_0: { grid: integer(4, true), codes: [plane(2, 4, 16)], d: 0 },
  q4_1: { grid: integer(4, false), codes: [plane(4, 4, 16)], d: 0, min: { at: 2, subtracted: false } },
  q5_0: { grid: integer(5, true), codes: [plane(6, 4, 16), plane(2, 1, 1, 4)], d: 0 },
  q5_1: { grid: integer(5, false), codes: [plane(8, 4, 16), plane(4, 1, 1, 4)], d: 0, min: { at: 2, subtracted: false } },
  q8_0: { grid: integer(8, true), codes: [plane(2, 8, 32)], signedBytes: true, d: 0 },
  q2_k: {
    grid: integer(2, false),
    codes: [plane(16, 2, 32)],
    d: 80,
    min: { at: 82, subtracted: true },
    levels: planar(16, 4, 0, 32, plane(0, 4, 16)),
  },
  q3_k: {
    grid: integer(3, true),
    codes: [plane(32, 2, 32), plane(0, 1, 32, 2)],
    d: 108,
    levels: planar(16, 6, -32, 16, plane(96, 4, 8), plane(104, 2, 4, 4)),
  },
  q4_k: { grid: integer(4, false), codes: [plane(16, 4, 32)], d: 0, min: { at: 2, subtracted: true }, levels: sixBits },
  q5_k: {
    grid: integer(5, false),
    codes: [plane(48, 4, 32), plane(16, 1, 32, 4)],
    d: 0,
    min: { at: 2, subtracted: true },
    levels: sixBits,
  },
  q6_k: {
    grid: integer(6, true),
    codes: [plane(0, 4, 64), plane(128, 2, 32, 4)],
    d: 208,
    levels: signedLevels(192),
  },
  iq4_nl: { grid: iq4, codes: [plane(2, 4, 16)], d: 0 },
  iq4_xs: {
    grid: iq4,
    codes: [plane(8, 4, 16)],
    d: 0,
    levels: planar(8, 6, -32, 8, plane(4, 4, 1), plane(2, 2, 1, 4)),
  },
};

/** Sixteen signed bytes; their codes count from -128. */
function signedLevels(offset: number): LevelCodes {
  return {
    groups: 16,
    bits: 8,
    lowest: -128,
    read(bytes, at, out) {
      for (let j = 0; j < 16; j++) out[j] = bytes[at + offset + j] ^ 128;
    },
    write(codes, bytes, at) {
      for (let j = 0; j < 16; j++) bytes[at + offset + j] = codes[j] ^ 128;
    },
  };
}

export function hasLevels(type: string): type is LevelType {
  return Object.hasOwn(layouts, type);
}

/** @throws RecipeError for a type whose codes and levels are not known one by one */
export function layoutOf(type: string): BlockLayout {
  if (hasLevels(type)) return layouts[type];
  throw new RecipeError({
    what: 'this type has no codes and levels of its own',
    value: type,
    next: `choose ${Object.keys(layouts).join(', ')}`,
  });
}
