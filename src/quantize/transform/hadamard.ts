/**
 * Hadamard matrices: entries ±1, H H' = n. QuaRot's (hadamard_utils.py, spcl/QuaRot, after N. Sloane's library of Hadamard matrices),
 * made by the constructions that give those tables: H = base ⊗ Sylvester, where the base is the largest of the list whose
 * quotient is a power of two.
 */

type Signs = Int8Array;

/** +1 for squares modulo the prime q, -1 for the others, 0 for 0. [q] */
function squares(q: number): Int8Array {
  const chi = new Int8Array(q).fill(-1);
  chi[0] = 0;
  for (let i = 1; i < q; i++) chi[(i * i) % q] = 1;
  return chi;
}

/** Paley's first construction for a prime q = 3 mod 4, of size q + 1: I + [[0, -1'], [1, Q']]. */
function paley(q: number): Signs {
  const chi = squares(q);
  return fill(q + 1, (i, j) => {
    if (i === j || j === 0) return 1;
    if (i === 0) return -1;
    return chi[(i - j + q) % q]!;
  });
}

/** Paley's second construction for a prime q = 1 mod 4, of size 2 (q + 1): [[S + I, S - I], [S - I, -S - I]], S = [[0, 1'], [1, Q]]. */
function paleyDouble(q: number): Signs {
  const chi = squares(q);
  const m = q + 1;
  return fill(2 * m, (i, j) => {
    const [a, b] = [i % m, j % m];
    const lower = i >= m && j >= m;
    if (a === b) return i < m && j < m ? 1 : -1;
    const s = a === 0 || b === 0 ? 1 : chi[(b - a + q) % q]!;
    return lower ? -s : s;
  });
}

/** Sylvester's doubling: [[H, H], [H, -H]]. */
function doubled(h: Signs): Signs {
  const n = Math.sqrt(h.length);
  return fill(2 * n, (i, j) => (i >= n && j >= n ? -1 : 1) * h[(i % n) * n + (j % n)]!);
}

/**
 * Williamson's array of four symmetric circulant matrices: [[A, B, C, D], [-B, A, -D, C], [-C, D, A, -B], [-D, -C, B, A]].
 * @param rows first half of the first row of each: entries 0..(m - 1) / 2, the others mirror them
 */
function williamson(...rows: [string, string, string, string]): Signs {
  const m = 2 * rows[0].length - 1;
  const circulant = rows.map((row) => (i: number, j: number) => {
    const distance = (j - i + m) % m;
    return row[Math.min(distance, m - distance)] === '+' ? 1 : -1;
  });
  const order = [
    [0, 1, 2, 3],
    [1, 0, 3, 2],
    [2, 3, 0, 1],
    [3, 2, 1, 0],
  ];
  const sign = ['++++', '-+-+', '-++-', '--++'];
  return fill(4 * m, (i, j) => {
    const [a, b] = [Math.floor(i / m), Math.floor(j / m)];
    return (sign[a]![b] === '+' ? 1 : -1) * circulant[order[a]![b]!]!(i % m, j % m);
  });
}

function fill(n: number, cell: (i: number, j: number) => number): Signs {
  return Int8Array.from({ length: n * n }, (_, at) => cell(Math.floor(at / n), at % n));
}

/** In the order in which QuaRot tries them. */
const bases: readonly { size: number; make: () => Signs }[] = [
  {
    size: 172,
    make: () =>
      williamson('+---++--++++-+-+++-++-', '++-++++++----+-+--++-+', '+++-+-++--+-+-++++-+--', '++---++++-+--+--++----'),
  },
  {
    size: 156,
    make: () => williamson('+++--+-+-----+--++--', '++++---+--++----+-+-', '+++--++-+---+-+--+--', '+---++-+-+-----+++-+'),
  },
  { size: 140, make: () => paley(139) },
  { size: 108, make: () => paley(107) },
  { size: 60, make: () => paley(59) },
  { size: 52, make: () => williamson('+-+--++', '+---+++', '++-+--+', '+----+-') },
  { size: 36, make: () => paleyDouble(17) },
  { size: 28, make: () => paleyDouble(13) },
  { size: 40, make: () => doubled(paley(19)) },
  { size: 20, make: () => paley(19) },
  { size: 12, make: () => paley(11) },
  { size: 1, make: () => Int8Array.of(1) },
];

const made = new Map<number, Signs>();

/** H = base ⊗ Sylvester(size / baseSize), entries ±1. */
export interface Hadamard {
  readonly size: number;
  readonly baseSize: number;
  /** [baseSize, baseSize] */
  readonly base: Int8Array;
}

/** Base sizes, as QuaRot tries them. */
export const hadamardBases: readonly number[] = bases.map(({ size }) => size);

/** The Hadamard matrix of size n; undefined where no base in the list leaves a power of two. */
export function hadamardOf(n: number): Hadamard | undefined {
  if (!Number.isInteger(n) || n < 1) return undefined;
  const row = bases.find(({ size }) => n % size === 0 && Number.isInteger(Math.log2(n / size)));
  if (!row) return undefined;
  const base = made.get(row.size) ?? row.make();
  made.set(row.size, base);
  return { size: n, baseSize: row.size, base };
}

/** The whole matrix, [n, n]. */
export function hadamardMatrix({ size, baseSize, base }: Hadamard): Int8Array {
  const m = size / baseSize;
  return fill(size, (i, j) => sylvester(i % m, j % m) * base[Math.floor(i / m) * baseSize + Math.floor(j / m)]!);
}

/** Entry (i, j) of Sylvester's matrix: the parity of the bits that i and j have in common. */
function sylvester(i: number, j: number): number {
  let bits = i & j;
  let sign = 1;
  for (; bits !== 0; bits &= bits - 1) sign = -sign;
  return sign;
}

/**
 * Each row x becomes x H' / sqrt(n) (QuaRot's matmul_hadU), or x H / sqrt(n) with `transposed`. In place.
 * n log2(n / baseSize) additions and n baseSize products a row, in f64 where x is.
 * @param x [rows, n]
 */
export function applyHadamard(x: Float32Array | Float64Array, hadamard: Hadamard, transposed = false): void {
  const { size: n, baseSize, base } = hadamard;
  const m = n / baseSize;
  const scale = 1 / Math.sqrt(n);
  const line = new Float64Array(n);
  const mixed = new Float64Array(n);
  for (let at = 0; at < x.length; at += n) {
    for (let i = 0; i < n; i++) line[i] = x[at + i]! * scale;
    butterflies(line, m);
    if (baseSize > 1) mixBlocks(line, m, base, baseSize, transposed, mixed);
    x.set(baseSize > 1 ? mixed : line, at);
  }
}

/** Sylvester's transform of every run of m values. */
function butterflies(line: Float64Array, m: number): void {
  for (let half = 1; half < m; half *= 2) {
    for (let start = 0; start < line.length; start += 2 * half) {
      for (let i = start; i < start + half; i++) {
        const a = line[i]!;
        const b = line[i + half]!;
        line[i] = a + b;
        line[i + half] = a - b;
      }
    }
  }
}

/** Block i of out = sum over blocks k of base[i, k] (or base[k, i]) times block k of line; a block has m values. */
function mixBlocks(line: Float64Array, m: number, base: Signs, count: number, transposed: boolean, out: Float64Array): void {
  out.fill(0);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < count; k++) {
      const sign = transposed ? base[k * count + i]! : base[i * count + k]!;
      for (let c = 0; c < m; c++) out[i * m + c]! += sign * line[k * m + c]!;
    }
  }
}
