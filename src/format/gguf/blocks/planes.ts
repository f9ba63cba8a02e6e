/**
 * Bit planes: how ggml's blocks spread codes over bytes. All layouts are runs of `stride` bytes that hold 8 / bits runs of `stride`
 * codes, the first in the lowest bits; a code that is wider than its plane has its upper bits in another one.
 */
export interface Plane {
  /** Byte offset in the block. */
  at: number;
  bits: 1 | 2 | 4 | 8;
  /** Bytes of a run; a byte's codes are this far apart. */
  stride: number;
  /** Where the plane's bits belong in the code. */
  shift: number;
}

/** Reads the codes of one block, whose bytes start at `at`, into out[to .. to + count]. */
export function readPlanes(
  planes: readonly Plane[],
  bytes: Uint8Array,
  at: number,
  out: Uint8Array,
  to: number,
  count: number,
): void {
  out.fill(0, to, to + count);
  for (const plane of planes) {
    const { bits, stride, shift } = plane;
    const mask = (1 << bits) - 1;
    const end = to + count;
    for (let from = at + plane.at, code = to; code < end; from += stride) {
      for (let down = 0; down < 8; down += bits) {
        for (let j = 0; j < stride; j++, code++) out[code] |= ((bytes[from + j] >> down) & mask) << shift;
      }
    }
  }
}

/** The inverse of `readPlanes`: replaces the planes' bytes, which belong to nothing else, and leaves the rest of the block alone. */
export function writePlanes(
  planes: readonly Plane[],
  codes: Uint8Array,
  from: number,
  count: number,
  bytes: Uint8Array,
  at: number,
): void {
  for (const plane of planes) {
    const { bits, stride, shift } = plane;
    const mask = (1 << bits) - 1;
    const end = from + count;
    for (let to = at + plane.at, code = from; code < end; to += stride) {
      bytes.fill(0, to, to + stride);
      for (let up = 0; up < 8; up += bits) {
        for (let j = 0; j < stride; j++, code++) bytes[to + j] |= ((codes[code] >> shift) & mask) << up;
      }
    }
  }
}
