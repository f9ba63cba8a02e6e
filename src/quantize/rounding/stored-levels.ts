/** Levels as a container stores them, which refinement changes: an array each of scales and minima, or row by row. */

/** value = f32(unit * code), or the unit itself (units and values may then be one array). */
export interface StoredLevels {
  /** [levels / levels of a unit] */
  units: Float32Array;
  /** [levels]; absent where units are the levels. */
  codes?: Int16Array;
  /** [levels] */
  values: Float32Array;
}

/** What can be stored. */
export interface LevelRange {
  /** What units are rounded to. */
  unit: 'f32' | 'f16' | 'bf16';
  /** Of codes, for scales and minima alike. */
  lowest: number;
  highest: number;
  /** Upper bound of the minima: 0 where a container subtracts them. */
  highestMinimum: number;
  /** Scales that are units keep their sign: readers of integer grids expect it. */
  keepsSigns: boolean;
}

export interface LevelStorage extends LevelRange {
  /** The scales of all rows, then their minima. */
  sets: readonly StoredLevels[];
}

/** Rows [from, to) of all sets, each array [to - from][sets][..]: the scales of a row, then its minima. Copies. */
export function gatherRows(sets: readonly StoredLevels[], rows: number, from: number, to: number): StoredLevels {
  const width = (all: { length: number }) => ((to - from) * sets.length * all.length) / rows;
  const [{ units, codes, values }] = sets as [StoredLevels];
  const gathered: StoredLevels = {
    units: new Float32Array(width(units)),
    ...(codes && { codes: new Int16Array(width(codes)) }),
    values: new Float32Array(width(values)),
  };
  eachPart(sets, rows, from, to, gathered, (all, part) => part.set(all));
  return gathered;
}

/** Puts back what `gatherRows` gave. */
export function scatterRows(gathered: StoredLevels, sets: readonly StoredLevels[], rows: number, from: number, to: number): void {
  eachPart(sets, rows, from, to, gathered, (all, part) => all.set(part));
}

type Part = Float32Array | Int16Array;

/** Calls `move` with the views of each row in a set and in what is gathered. */
function eachPart(
  sets: readonly StoredLevels[],
  rows: number,
  from: number,
  to: number,
  gathered: StoredLevels,
  move: (all: Part, part: Part) => void,
): void {
  for (const [s, set] of sets.entries()) {
    for (const kind of ['units', 'codes', 'values'] as const) {
      const [all, parts] = [set[kind], gathered[kind]];
      if (!all || !parts) continue;
      const n = all.length / rows;
      for (let row = from; row < to; row++) {
        const at = ((row - from) * sets.length + s) * n;
        move(all.subarray(row * n, (row + 1) * n), parts.subarray(at, at + n));
      }
    }
  }
}
