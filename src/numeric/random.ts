/**
 * Seeded random numbers that are the same on every platform: xoshiro128** (Blackman and Vigna) on 32-bit integers, its state
 * filled by SplitMix64. The gaussian uses only operations that IEEE 754 fixes, because Math.log may differ between engines.
 */
export class Random {
  readonly #state: Uint32Array; // [4]
  #spare: number | undefined;

  /** The same seed (a safe integer or a bigint, taken modulo 2^64) gives the same sequence. */
  constructor(seed: number | bigint) {
    const [low, high] = splitMix64(BigInt(seed), 2);
    this.#state = new Uint32Array(new BigUint64Array([low!, high!]).buffer);
  }

  /** An integer in [0, 2^32). */
  bits32(): number {
    const s = this.#state;
    const scrambled = Math.imul(rotate(Math.imul(s[1]!, 5), 7), 9) >>> 0;
    const t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = rotate(s[3]!, 11);
    return scrambled;
  }

  /** Uniform in [0, 1), 53 bits. */
  uniform(): number {
    const high = this.bits32() >>> 5;
    return (high * 2 ** 26 + (this.bits32() >>> 6)) * 2 ** -53;
  }

  /** An integer in [0, n), 1 <= n <= 2^32, each equally likely: values of the last, incomplete multiple of n are drawn again. */
  integer(n: number): number {
    const complete = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const draw = this.bits32();
      if (draw < complete) return draw % n;
    }
  }

  /** Normal with mean 0 and deviation 1, by Marsaglia's polar method. */
  gaussian(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    for (;;) {
      const u = 2 * this.uniform() - 1;
      const v = 2 * this.uniform() - 1;
      const square = u * u + v * v;
      if (square >= 1 || square === 0) continue;
      const length = Math.sqrt((-2 * logarithm(square)) / square);
      this.#spare = v * length;
      return u * length;
    }
  }

  /** Shuffles in place (Fisher and Yates). */
  shuffle<T extends { length: number; [index: number]: unknown }>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const item = items[i];
      items[i] = items[j];
      items[j] = item;
    }
    return items;
  }
}

function rotate(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k));
}

/** The first n outputs of SplitMix64. */
export function splitMix64(seed: bigint, n: number): bigint[] {
  let state = seed;
  return Array.from({ length: n }, () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  });
}

/** Natural logarithm of x in (0, 1): x = m * 2^-k with m in (0.7, 1.42), then the series of 2 artanh((m - 1) / (m + 1)). */
function logarithm(x: number): number {
  let m = x;
  let k = 0;
  while (m < Math.SQRT1_2) {
    m *= 2;
    k++;
  }
  const z = (m - 1) / (m + 1);
  const square = z * z;
  let sum = 0;
  for (let power = 23; power >= 1; power -= 2) sum = sum * square + 1 / power;
  return 2 * z * sum - k * Math.LN2;
}
