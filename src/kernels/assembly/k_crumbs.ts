// The two low bits of 256 codes in 64 bytes, as packCrumbs of ref/k-common.ref.ts: of each 128, quarter q is at bits 2q.
import { codes } from './k_common';

export function packCrumbs(out: usize): void {
  const crumb = i8x16.splat(3);
  for (let half: usize = 0; half < 2; half++) {
    for (let i: usize = 0; i < 32; i += 16) {
      const from = codes + half * 128 + i;
      const a = v128.and(v128.load(from, 0), crumb);
      const b = i16x8.shl(v128.and(v128.load(from, 32), crumb), 2);
      const c = i16x8.shl(v128.and(v128.load(from, 64), crumb), 4);
      const d = i16x8.shl(v128.and(v128.load(from, 96), crumb), 6);
      v128.store(out + half * 32 + i, v128.or(v128.or(a, b), v128.or(c, d)));
    }
  }
}

/** The crumbs of group j: u8[16]. */
@inline
export function crumbs(packed: usize, j: i32): v128 {
  const bytes = v128.load(packed + (<usize>(j >> 3) << 5) + (<usize>(j & 1) << 4));
  return v128.and(i16x8.shr_u(bytes, j & 6), i8x16.splat(3));
}
