// Levels fitted to the codes of each type: the kernel as its reference, exact where blocks hold the wish, and near the best of a
// full scan.
import { describe, expect, it } from 'vitest';
import { encodeRows, loadKernels } from '../../../kernels/index.ts';
import { decodeF16 } from '../../../numeric/f16.ts';
import { Random } from '../../../numeric/random.ts';
import { fitUnits } from '../../../quantize/rounding/fit-units.ref.ts';
import { type LevelSet, type LevelType, readLevels, writeLevels } from './index.ts';
import { layouts } from './layouts.ts';

const types = (Object.keys(layouts) as LevelType[]).filter((type) => layouts[type].levels);
const kernels = await loadKernels();

function rangeOf(type: LevelType) {
  const { groups, bits, lowest } = layouts[type].levels!;
  return { shared: groups, lowest, highest: lowest + 2 ** bits - 1 };
}

/** What both forms find, which must be the same. */
function fitLevels(type: LevelType, wished: Float32Array, weights = wished.map(() => 1)): Required<LevelSet> {
  const { shared, lowest, highest } = rangeOf(type);
  const n = wished.length;
  const out = { units: new Float32Array(n / shared), codes: new Int16Array(n), values: new Float32Array(n) };
  fitUnits(wished, weights, { shared, lowest, highest }, out);
  const mark = kernels.mark();
  const [wishAt, weightsAt] = [kernels.put(wished), kernels.put(weights)];
  const [units, codes, values] = [kernels.alloc(4 * n), kernels.alloc(2 * n), kernels.alloc(4 * n)];
  for (let i = 0; i < n; i += shared) {
    const unit = units + (4 * i) / shared;
    kernels.call('fit_unit', wishAt + 4 * i, weightsAt + 4 * i, shared, lowest, highest, unit, codes + 2 * i, values + 4 * i);
  }
  expect(kernels.f32(units, out.units.length)).toEqual(out.units);
  expect(kernels.i16(codes, n)).toEqual(out.codes);
  expect(kernels.f32(values, n)).toEqual(out.values);
  kernels.reset(mark);
  return out;
}

function squares(a: Float32Array, b: Float32Array, w?: Float32Array): number {
  return a.reduce((sum, v, i) => sum + (w?.[i] ?? 1) * (v - b[i]) ** 2, 0);
}

describe.each(types)('%s', (type) => {
  it.each([0.02, 1, 1e-5, 3000])('finds the levels of encoded blocks again, values times %d', (size) => {
    const random = new Random(11);
    const x = Float32Array.from({ length: 4096 }, () => size * random.gaussian());
    const importance = Float32Array.from({ length: 4096 }, () => random.uniform());
    for (const weights of [undefined, importance]) {
      const bytes = encodeRows(kernels, type, x, 4096, weights);
      const { scale, min } = readLevels(type, bytes);
      const found = { scale: fitLevels(type, scale.values), ...(min && { min: fitLevels(type, min.values) }) };
      expect(squares(found.scale.values, scale.values)).toBe(0);
      if (min) expect(squares(found.min!.values, min.values)).toBe(0);
      // What was found is storable: written and read it is the same.
      writeLevels(type, found, bytes);
      expect(readLevels(type, bytes).scale.values).toEqual(found.scale.values);
    }
  });

  it('rounds wishes that lie anywhere to levels that are written and read unchanged', () => {
    const random = new Random(12);
    const bytes = encodeRows(kernels, type, new Float32Array(4096), 4096);
    const { scale, min } = readLevels(type, bytes);
    for (const size of [0, 1e-9, 1e-6, 1, 1e4, 1e9]) {
      const wish = () => Float32Array.from(scale.values, () => size * random.gaussian());
      const found = {
        scale: fitLevels(type, wish(), wish().map(Math.abs)),
        ...(min && {
          min: fitLevels(
            type,
            wish().map((x) => Math.min(x, 0)),
          ),
        }),
      };
      writeLevels(type, found, bytes);
      const read = readLevels(type, bytes);
      expect(squares(read.scale.values, found.scale.values)).toBe(0);
      if (read.min) expect(squares(read.min.values, found.min!.values)).toBe(0);
      if (read.min) expect(Math.max(...read.min.values)).toBeLessThanOrEqual(0);
      expect(read.scale.values.every(Number.isFinite)).toBe(true);
    }
  });

  it('weighs alike where no weight is above 0', () => {
    const wish = Float32Array.from({ length: rangeOf(type).shared }, (_, i) => 0.1 + 0.01 * i);
    expect(
      fitLevels(
        type,
        wish,
        wish.map(() => 0),
      ),
    ).toEqual(fitLevels(type, wish));
  });

  it('is within 5 % of the least squared error among all f16 units, on average', () => {
    const random = new Random(13);
    const { shared, lowest, highest } = rangeOf(type);
    let [ours, best] = [0, 0];
    for (let run = 0; run < 6; run++) {
      const wish = Float32Array.from({ length: shared }, () => 0.01 * (lowest < 0 ? random.gaussian() : 0.2 + random.uniform()));
      const weights = Float32Array.from({ length: shared }, () => random.uniform());
      ours += squares(fitLevels(type, wish, weights).values, wish, weights);
      let least = Number.POSITIVE_INFINITY;
      for (let half = 1; half < 0x3c00; half++) {
        for (const unit of lowest < 0 ? [decodeF16(half), -decodeF16(half)] : [decodeF16(half)]) {
          const stored = wish.map((v) => unit * Math.max(lowest, Math.min(highest, Math.round(v / unit))));
          least = Math.min(least, squares(stored, wish, weights));
        }
      }
      best += least;
    }
    expect(ours).toBeGreaterThanOrEqual(best * (1 - 1e-6));
    expect(ours).toBeLessThan(best * 1.05);
  });
});
