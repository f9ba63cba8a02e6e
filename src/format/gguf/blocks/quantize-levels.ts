/** Wished levels to those that blocks can hold: an f16 unit a block, under which each group has a code of 4 to 8 bits. */
import { FormatError } from '../../../errors.ts';
import { roundF16 } from '../../../numeric/f16.ts';
import { type LevelType, layoutOf } from './layouts.ts';
import { type BlockLevels, effective, emptyLevels, groupsOf, type LevelSet } from './levels.ts';

const largestHalf = 65504;

/**
 * The storable levels nearest to the wished ones: for each block the unit and codes that minimise sum w (wished - stored)^2 among
 * grids that put the largest wish at or between codes of the outer half, their unit fitted by least squares. Levels that a block
 * holds with a code in that half are found exactly. Minima are at most 0 where the type subtracts them.
 * @param scales, mins wished effective values [blocks * groups]; minima are added (x = scale * code + min)
 * @param weights [blocks * groups] each, >= 0, of scales and of minima; default 1
 */
export function quantizeLevels(
  type: LevelType,
  scales: Float32Array,
  mins?: Float32Array,
  weights: { scale?: Float32Array; min?: Float32Array } = {},
): BlockLevels {
  const { levels, min } = layoutOf(type);
  const groups = groupsOf(type);
  if (scales.length % groups || (mins ? mins.length !== scales.length : min)) {
    throw new FormatError({ what: `the levels do not fill ${type} blocks`, value: [scales.length, mins?.length], limit: groups });
  }
  const found = emptyLevels(type, scales.length / groups);
  if (!levels) {
    roundUnits(scales, found.scale);
    if (found.min) roundUnits(mins!, found.min);
    return found;
  }
  const highest = levels.lowest + 2 ** levels.bits - 1;
  fitRun(scales, weights.scale, { groups, lowest: levels.lowest, highest }, found.scale);
  // Subtracted minima have a unit below 0, whatever the largest wish is.
  if (found.min)
    fitRun(
      mins!.map((m) => Math.min(m, 0)),
      weights.min,
      { groups, lowest: 0, highest },
      found.min,
    );
  return found;
}

function roundUnits(wished: Float32Array, { units }: LevelSet): void {
  for (let i = 0; i < wished.length; i++) units[i] = storableUnit(wished[i]);
}

/** The nearest finite f16. */
function storableUnit(x: number): number {
  return roundF16(Math.max(-largestHalf, Math.min(largestHalf, x)));
}

interface CodeRange {
  groups: number;
  lowest: number;
  highest: number;
}

function fitRun(wished: Float32Array, weights: Float32Array | undefined, range: CodeRange, out: LevelSet): void {
  const { groups } = range;
  const ones = new Float64Array(groups).fill(1);
  const w = new Float64Array(groups);
  for (let b = 0; b < out.units.length; b++) {
    const from = b * groups;
    if (weights) for (let g = 0; g < groups; g++) w[g] = weights[from + g];
    const unit = fitUnit(wished, from, weights && w.some((v) => v > 0) ? w : ones, range);
    out.units[b] = unit;
    const inverse = unit === 0 ? 0 : 1 / unit;
    for (let g = 0; g < groups; g++) out.codes![from + g] = nearestCode(wished[from + g] * inverse, range.lowest, range.highest);
  }
  effective(out);
}

/** Adding it to a small f64 and taking it away again rounds that half to even. */
const roundingShift = 1.5 * 2 ** 52;

function nearestCode(x: number, lowest: number, highest: number): number {
  return x <= lowest ? lowest : x >= highest ? highest : x + roundingShift - roundingShift;
}

/**
 * Grids tried that put the largest wish between half of the top code (coarser ones lose four times as much) and a quarter beyond it
 * (a wish of little weight may be cut).
 */
const gridsTried = 96;

/** The best unit for wished[from .. from + groups]. */
function fitUnit(wished: Float32Array, from: number, w: Float64Array, { groups, lowest, highest }: CodeRange): number {
  let extreme = 0;
  for (let g = 0; g < groups; g++) if (Math.abs(wished[from + g]) > Math.abs(extreme)) extreme = wished[from + g];
  if (extreme === 0) return 0;

  let unit = 0;
  let best = 0;
  const tryCode = (code: number) => {
    const inverse = code / extreme;
    let product = 0;
    let square = 0;
    for (let g = 0; g < groups; g++) {
      const nearest = nearestCode(wished[from + g] * inverse, lowest, highest);
      const weighted = w[g] * nearest;
      product += weighted * wished[from + g];
      square += weighted * nearest;
    }
    // With the unit fitted to the codes by least squares the error is sum w wished^2 - product^2 / square.
    if (square === 0 || product * product <= best * square) return;
    best = (product * product) / square;
    unit = product / square;
  };
  const top = Math.max(highest, -lowest);
  for (let i = 0; i <= gridsTried; i++) {
    const code = top * (1.25 - (0.75 * i) / gridsTried);
    tryCode(lowest < 0 ? -code : code);
    // A signed grid has one code more on its lower side: elsewhere the sign of the unit makes no difference.
    if (lowest < 0 && code > highest) tryCode(code);
  }
  return storableUnit(unit);
}
