/**
 * ggml's block types with better values (`--encoder search`): for each block what the search finds, where that loses less of
 * sum w (x - decoded)^2 than ggml's own block, else ggml's. w is the importance matrix row as it stands, or 1.
 */
import { type StorageType, storage } from '../../../tensor/storage.ts';
import type { BlockReference } from '../../encoders.ts';
import { packNibbles, writeHalf } from '../blocks.ref.ts';
import { codebookCodes } from '../iq4.ref.ts';
import { iq4_nl } from '../iq4_nl.ref.ts';
import { iq4_xs, packIq4Xs } from '../iq4_xs.ref.ts';
import { packLevels32 } from '../k-affine.ref.ts';
import { roundToGrid } from '../k-common.ref.ts';
import { mxfp4 } from '../mxfp4.ref.ts';
import { nvfp4 } from '../nvfp4.ref.ts';
import { packQ2_0, q2_0 } from '../q2_0.ref.ts';
import { packQ2_K, q2_k } from '../q2_k.ref.ts';
import { packQ3_K, q3_k } from '../q3_k.ref.ts';
import { packQ4_0, q4_0 } from '../q4_0.ref.ts';
import { packQ4_1, q4_1 } from '../q4_1.ref.ts';
import { packQ4_K, q4_k } from '../q4_k.ref.ts';
import { packQ5_0, q5_0 } from '../q5_0.ref.ts';
import { packQ5_1, q5_1 } from '../q5_1.ref.ts';
import { packQ5_K, q5_k } from '../q5_k.ref.ts';
import { packQ6_K, q6_k } from '../q6_k.ref.ts';
import { q8_0 } from '../q8_0.ref.ts';
import { packTq1_0, tq1_0 } from '../tq1_0.ref.ts';
import { packTq2_0, tq2_0 } from '../tq2_0.ref.ts';
import { type AffineSearch, fitAffine } from './affine.ref.ts';
import { type AffineLevels, searchAffineBlock } from './affine-block.ref.ts';
import { searchMxfp4, searchNvfp4 } from './floats.ref.ts';
import { iq4, wholeNumbers } from './grids.ref.ts';
import { loss } from './loss.ref.ts';
import { fitScale, type Places } from './scale.ref.ts';
import { type ScaledLevels, type ScaledSearch, searchScaled } from './scaled-block.ref.ts';
import { searchTernary } from './ternary.ref.ts';
import { storedUnit, type UnitSearch } from './units.ref.ts';

const f = Math.fround;

/** x, w: [block], out: [bytes], zeroed. */
type Search = (x: Float32Array, w: Float32Array, out: Uint8Array) => void;

const places = (from: number, step: number, count: number): Places => ({ from, step, count });

/** Codes [block] of groups under scales. */
function scaledCodes(x: Float32Array, { unit, levels }: ScaledLevels, low: number, high: number): Uint8Array {
  const codes = new Uint8Array(x.length);
  const group = x.length / levels.length;
  levels.forEach((level, g) => {
    const [from, to] = [g * group, (g + 1) * group];
    const step = f(unit * level);
    if (step !== 0) roundToGrid(x.subarray(from, to), step, 0, { low, high }, codes.subarray(from, to));
  });
  return codes;
}

/** One group of 32 on the whole numbers from `low` to `high`, its scale as f16 stores it. */
function scaled(
  low: number,
  high: number,
  from: Places,
  pack: (scale: number, codes: Uint8Array, out: Uint8Array) => void,
): Search {
  const scale = { grid: wholeNumbers(low, high), places: from };
  return (x, w, out) => {
    const unit = storedUnit(fitScale(x, w, scale).scale);
    pack(unit, scaledCodes(x, { unit, levels: Float32Array.of(1) }, low, high), out);
  };
}

const iq4Scale: ScaledSearch['scale'] = { grid: iq4, places: places(-85, -5.5, 10), mirrored: true };

function superScaled(
  low: number,
  high: number,
  search: Omit<ScaledSearch, 'group' | 'rounds'>,
  pack: (found: ScaledLevels, codes: Uint8Array, out: Uint8Array) => void,
): Search {
  return (x, w, out) => {
    const found = searchScaled(x, w, { ...search, group: 16, rounds: 2 });
    pack(found, scaledCodes(x, found, low, high), out);
  };
}

const affine = (top: number): AffineSearch => ({
  top,
  places: places(top - 1.8, 0.3, 10),
  cutPlaces: places(top - 2.2, 0.4, 8),
  cut: 0.5,
});

const crumbs: AffineSearch = { top: 3, places: places(2.1, 0.2, 10), cutPlaces: places(1.8, 0.2, 8), cut: 0.25 };

function pair(top: number, pack: (found: { scale: number; min: number; codes: Uint8Array }, out: Uint8Array) => void): Search {
  return (x, w, out) => {
    const fit = fitAffine(x, w, affine(top));
    const [unit, min] = [storedUnit(fit.scale), storedUnit(fit.min)];
    const codes = new Uint8Array(32);
    if (unit !== 0) roundToGrid(x, unit, -min, { low: 0, high: top }, codes);
    pack({ scale: unit, min, codes }, out);
  };
}

function superAffine(
  group: number,
  search: AffineSearch,
  units: UnitSearch,
  pack: (found: AffineLevels, codes: Uint8Array, out: Uint8Array) => void,
): Search {
  return (x, w, out) => {
    const found = searchAffineBlock(x, w, { group, affine: { ...search, nonPositive: true }, units, rounds: 2 });
    const codes = new Uint8Array(x.length);
    found.levels.forEach((level, g) => {
      const [from, to] = [g * group, (g + 1) * group];
      const step = f(found.unit * level);
      const offset = f(found.minUnit * found.mins[g]!);
      if (step !== 0) roundToGrid(x.subarray(from, to), step, offset, { low: 0, high: search.top }, codes.subarray(from, to));
    });
    pack(found, codes, out);
  };
}

function superAffine32(top: number, packCodes: (codes: Uint8Array, out: Uint8Array) => void): Search {
  const units: UnitSearch = { lowest: 0, highest: 63, places: places(48, 0.6, 32) };
  return superAffine(32, affine(top), units, ({ unit, minUnit, levels, mins }, codes, out) => {
    packLevels32({ d: unit, dmin: minUnit, scaleCodes: Uint8Array.from(levels), minCodes: Uint8Array.from(mins) }, out);
    packCodes(codes, out);
  });
}

/** The f16 codes of Q8_0 in two's complement. */
function packQ8_0(scale: number, codes: Uint8Array, out: Uint8Array): void {
  writeHalf(out, 0, scale);
  codes.forEach((code, j) => {
    out[2 + j] = code - 127;
  });
}

const searches = {
  q4_0: scaled(-8, 7, places(-6.2, -0.175, 16), (scale, codes, out) => packQ4_0({ scale, codes }, out)),
  q5_0: scaled(-16, 15, places(-13, -0.25, 16), (scale, codes, out) => packQ5_0({ scale, codes }, out)),
  q8_0: scaled(-127, 127, places(-119, -0.5, 20), packQ8_0),
  q4_1: pair(15, packQ4_1),
  q5_1: pair(31, packQ5_1),
  iq4_nl: (x, w, out) => {
    const unit = storedUnit(fitScale(x, w, iq4Scale).scale);
    writeHalf(out, 0, unit);
    packNibbles(codebookCodes(x, unit), out.subarray(2));
  },
  iq4_xs: (x, w, out) => {
    const units = { lowest: -32, highest: 31, places: places(-22, -0.45, 32) };
    const { unit, levels } = searchScaled(x, w, { group: 32, scale: iq4Scale, units, rounds: 2 });
    packIq4Xs(x, unit, levels, out);
  },
  q3_k: superScaled(
    -4,
    3,
    {
      scale: { grid: wholeNumbers(-4, 3), places: places(-2.6, -0.2, 10), mirrored: true },
      units: { lowest: -32, highest: 31, places: places(-22, -0.45, 32) },
    },
    ({ unit, levels }, codes, out) =>
      packQ3_K(
        unit,
        Uint8Array.from(levels, (level) => level + 32),
        codes,
        out,
      ),
  ),
  q6_k: superScaled(
    -32,
    31,
    {
      scale: { grid: wholeNumbers(-32, 31), places: places(-25, -0.5, 18) },
      units: { lowest: -128, highest: 127, places: places(-100, -1, 32) },
    },
    ({ unit, levels }, codes, out) => packQ6_K(unit, Int8Array.from(levels), codes, out),
  ),
  q2_k: superAffine(
    16,
    crumbs,
    { lowest: 0, highest: 15, places: places(10, 0.225, 32) },
    ({ unit, minUnit, levels, mins }, codes, out) => {
      packQ2_K({ d: unit, dmin: minUnit, levels: Uint8Array.from(levels), mins: Uint8Array.from(mins) }, codes, out);
    },
  ),
  q4_k: superAffine32(15, packQ4_K),
  q5_k: superAffine32(31, packQ5_K),
  mxfp4: searchMxfp4,
  nvfp4: searchNvfp4,
  tq1_0: (x, w, out) => packTq1_0(searchTernary(x, w), out),
  tq2_0: (x, w, out) => packTq2_0(searchTernary(x, w), out),
  q2_0: (x, w, out) => packQ2_0(searchTernary(x, w), out),
} satisfies Partial<Record<StorageType, Search>>;

const integers = { q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k };
const exact = { ...integers, iq4_nl, iq4_xs, mxfp4, nvfp4, tq1_0, tq2_0, q2_0 };

function searched(type: keyof typeof searches): BlockReference['encode'] {
  const { block, bytes } = storage[type];
  return (x, cols, importance) => {
    const out = exact[type].encode(x, cols, importance);
    const ones = new Float32Array(block).fill(1);
    for (let i = 0, at = 0; i < x.length; i += block, at += bytes) {
      const values = x.subarray(i, i + block);
      const w = importance?.subarray(i % cols, (i % cols) + block) ?? ones;
      const own = new Uint8Array(bytes);
      searches[type](values, w, own);
      const lossOf = (encoded: Uint8Array) => loss(values, exact[type].decode(encoded, block), w);
      const least = lossOf(out.subarray(at, at + bytes));
      // A scale beyond f16 stays: whoever writes the block refuses it.
      if (lossOf(own) < least && least < Number.POSITIVE_INFINITY) out.set(own, at);
    }
    return out;
  };
}

export const searchedEncoders = Object.fromEntries(
  (Object.keys(searches) as (keyof typeof searches)[]).map((type) => [type, searched(type)]),
) as Record<keyof typeof searches, BlockReference['encode']>;
