// What fits levels to blocks: exact where blocks hold the wish, no worse than the encoder's choice, and near the best of a full scan.
import { describe, expect, it } from 'vitest';
import { encodeRows, loadKernels } from '../../../kernels/index.ts';
import { decodeF16 } from '../../../numeric/f16.ts';
import { Random } from '../../../numeric/random.ts';
import { type LevelType, quantizeLevels, readLevels, writeLevels } from './index.ts';
import { layouts } from './layouts.ts';

const types = Object.keys(layouts) as LevelType[];
const kernels = await loadKernels();

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
      const found = quantizeLevels(type, scale.values, min?.values);
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
    const count = readLevels(type, bytes).scale.values.length;
    for (const size of [0, 1e-9, 1e-6, 1, 1e4, 1e9]) {
      const wish = () => Float32Array.from({ length: count }, () => size * random.gaussian());
      const found = quantizeLevels(type, wish(), wish(), { scale: wish().map(Math.abs) });
      writeLevels(type, found, bytes);
      const read = readLevels(type, bytes);
      expect(squares(read.scale.values, found.scale.values)).toBe(0);
      if (read.min) expect(squares(read.min.values, found.min!.values)).toBe(0);
      if (layouts[type].min?.subtracted) expect(Math.max(...read.min!.values)).toBeLessThanOrEqual(0);
      expect(read.scale.values.every(Number.isFinite)).toBe(true);
    }
  });
});

describe.each(['q4_k', 'q3_k', 'q6_k', 'iq4_xs', 'q2_k'] as const)('%s against every f16 unit', (type) => {
  it('is within 5 % of the least squared error, on average', () => {
    const random = new Random(13);
    const { groups, bits, lowest } = layouts[type].levels!;
    const highest = lowest + 2 ** bits - 1;
    let [ours, best] = [0, 0];
    for (let run = 0; run < 6; run++) {
      const wish = Float32Array.from({ length: groups }, () => 0.01 * (lowest < 0 ? random.gaussian() : 0.2 + random.uniform()));
      const weights = Float32Array.from({ length: groups }, () => random.uniform());
      ours += squares(quantizeLevels(type, wish, wish, { scale: weights }).scale.values, wish, weights);
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
