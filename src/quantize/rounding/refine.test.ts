// Descent, refitting and stored levels against what they promise: the loss by its definition, never more of it, and optima where
// they are known.
import { describe, expect, it } from 'vitest';
import { loadKernels } from '../../kernels/index.ts';
import { roundF16 } from '../../numeric/f16.ts';
import { correlatedHessian, roundedRows } from './correlated.fixture.ts';
import { descend } from './descent.ts';
import { decodeRow, type LeveledRows, rowLosses } from './leveled-rows.ts';
import { slowMath } from './refine-math.ref.ts';
import { refineMath } from './refine-math.ts';
import { levelSystems, relaxLevels, systemLoss, systemSlope } from './refit.ts';
import { descendLevels, refitRow, type StoredLevels } from './stored-levels.ts';

/** By definition, in f64. */
function lossOf(w: Float32Array, q: LeveledRows, hessian: Float32Array, row: number): number {
  const { cols } = q;
  const decoded = new Float32Array(cols);
  decodeRow(q, row, decoded);
  const e = Array.from(decoded, (v, c) => v - w[row * cols + c]);
  let loss = 0;
  for (let i = 0; i < cols; i++) for (let j = 0; j < cols; j++) loss += e[i] * hessian[i * cols + j] * e[j];
  return loss;
}

const losses = (w: Float32Array, q: LeveledRows, hessian: Float32Array) => rowLosses(w, q, hessian, slowMath.product);
const total = (losses: Float64Array) => losses.reduce((a, b) => a + b, 0);

describe('losses', () => {
  it.each([false, true])('are those of the definition (minima: %s)', (mins) => {
    const hessian = correlatedHessian(32, 1);
    const { w, q } = roundedRows(3, 32, 16, 2, mins);
    for (const [r, loss] of losses(w, q, hessian).entries()) expect(loss / lossOf(w, q, hessian, r)).toBeCloseTo(1, 5);
  });

  it('refuse arrays of other sizes', () => {
    const { w, q } = roundedRows(2, 32, 16, 2);
    expect(() => losses(w, q, new Float32Array(31 * 31))).toThrow('the Hessian do not fit');
    expect(() => losses(w, { ...q, group: 24 }, new Float32Array(32 * 32))).toThrow('do not fit the rows');
  });
});

describe('descent on codes', () => {
  it.each([false, true])('never adds to the loss of a row and ends where no code alone helps (minima: %s)', (mins) => {
    const hessian = correlatedHessian(64, 3);
    const { w, q } = roundedRows(8, 64, 16, 4, mins);
    let before = losses(w, q, hessian);
    const first = total(before);
    for (let sweep = 0; sweep < 50; sweep++) {
      const changed = descend(w, q, hessian, { sweeps: 1 });
      const after = losses(w, q, hessian);
      for (const [r, loss] of after.entries()) expect(loss).toBeLessThanOrEqual(before[r] * (1 + 1e-6));
      before = after;
      if (changed === 0) break;
    }
    expect(total(before)).toBeLessThan(0.5 * first);
    for (let i = 0; i < q.codes.length; i += 7) {
      const row = Math.floor(i / 64);
      const held = q.codes[i];
      for (const code of [held - 1, held + 1]) {
        if (code < 0 || code > 15) continue;
        q.codes[i] = code;
        expect(lossOf(w, q, hessian, row)).toBeGreaterThanOrEqual(before[row] * (1 - 1e-6));
      }
      q.codes[i] = held;
    }
  });

  it('rounds to nearest where inputs are independent, also under a negative scale', () => {
    const { w, q } = roundedRows(4, 32, 16, 5);
    const nearest = q.codes.slice();
    const identity = Float32Array.from({ length: 32 * 32 }, (_, i) => (i % 33 === 0 ? 1 : 0));
    q.codes.fill(3);
    descend(w, q, identity);
    expect(q.codes).toEqual(nearest);
    const turned = { ...q, scales: q.scales.map((s) => -s), codes: q.codes.slice().fill(9) };
    descend(w, turned, identity);
    // -8 becomes 7 at most, and what was cut at 7 may now reach 8.
    const expected = nearest.map((code) => Math.min(15, 16 - code));
    expect(turned.codes.map((code, i) => (nearest[i] === 15 ? Math.max(1, code) : code))).toEqual(expected);
  });

  it('leaves groups of scale 0 and inputs that are always zero alone', () => {
    const { w, q } = roundedRows(2, 32, 16, 6);
    const hessian = correlatedHessian(32, 7);
    for (let i = 0; i < 32; i++) hessian[i * 32 + 5] = hessian[5 * 32 + i] = 0;
    q.scales[0] = 0;
    const before = q.codes.slice();
    descend(w, q, hessian);
    expect(q.codes.subarray(0, 16)).toEqual(before.subarray(0, 16));
    expect(q.codes[32 + 5]).toBe(before[32 + 5]);
  });

  it('gives a row the same codes alone and among others', () => {
    const hessian = correlatedHessian(32, 8);
    const { w, q } = roundedRows(6, 32, 16, 9);
    const alone = { ...q, rows: 1, codes: q.codes.slice(64, 96), scales: q.scales.slice(4, 6) };
    descend(w, q, hessian);
    descend(w.slice(64, 96), alone, hessian);
    expect(alone.codes).toEqual(q.codes.slice(64, 96));
  });
});

describe('refitted levels', () => {
  it.each([false, true])('the system is the loss as a function of the levels (minima: %s)', (mins) => {
    const hessian = correlatedHessian(64, 10);
    const { w, q } = roundedRows(3, 64, 16, 11, mins);
    let row = 0;
    for (const system of levelSystems(slowMath.product(w, hessian, q.cols), q, hessian)) {
      const levelsOf = (x: LeveledRows) =>
        [x.scales, ...(x.mins ? [x.mins] : [])].flatMap((all) => [...all.subarray(row * 4, row * 4 + 4)]);
      const other = { ...q, scales: q.scales.map((s) => 1.1 * s), ...(q.mins ? { mins: q.mins.map((m) => 0.9 * m) } : {}) };
      const change = systemLoss(system, Float64Array.from(levelsOf(other))) - systemLoss(system, Float64Array.from(levelsOf(q)));
      expect(change / (lossOf(w, other, hessian, row) - lossOf(w, q, hessian, row))).toBeCloseTo(1, 4);
      row++;
    }
    expect(row).toBe(3);
  });

  it.each([false, true])('relaxing ends where the gradient is zero (minima: %s)', (mins) => {
    const hessian = correlatedHessian(64, 12);
    const { w, q } = roundedRows(2, 64, 16, 13, mins);
    for (const system of levelSystems(slowMath.product(w, hessian, q.cols), q, hessian)) {
      const levels = new Float64Array(system.size);
      relaxLevels(system, levels, undefined, 10_000);
      const scale = Math.max(...system.rhs.map(Math.abs));
      for (const slope of systemSlope(system, levels)) expect(Math.abs(slope) / scale).toBeLessThan(0.01);
    }
  });

  it('minima stay at or under their bound, and groups without inputs keep their levels', () => {
    const hessian = correlatedHessian(64, 14);
    for (let i = 0; i < 64; i++) for (let j = 0; j < 16; j++) hessian[i * 64 + j] = hessian[j * 64 + i] = 0;
    const { w, q } = roundedRows(4, 64, 16, 15, true);
    for (let i = 0; i < w.length; i++) w[i] += 0.2; // wants minima above 0
    for (const system of levelSystems(slowMath.product(w, hessian, q.cols), q, hessian)) {
      const levels = Float64Array.from({ length: 8 }, (_, i) => (i < 4 ? 0.01 : -0.1));
      const before = systemLoss(system, levels);
      relaxLevels(system, levels, 0);
      expect(Math.max(...levels.subarray(4))).toBeLessThanOrEqual(0);
      expect(systemLoss(system, levels)).toBeLessThan(before);
      expect([levels[0], levels[4]]).toEqual([0.01, -0.1]);
    }
  });
});

describe('stored levels', () => {
  const sixBits = (wished: Float64Array): StoredLevels => {
    const unit = roundF16(Math.max(...wished.map(Math.abs)) / 63);
    const codes = Int16Array.from(wished, (x) => Math.max(0, Math.min(63, Math.round(x / unit))));
    return { units: Float32Array.of(unit), codes, values: Float32Array.from(codes, (c) => c * unit), lowest: 0, highest: 63 };
  };
  const halves = (wished: Float64Array): StoredLevels => {
    const units = Float32Array.from(wished, roundF16);
    return { units, values: units.slice(), lowest: 1, highest: 1 };
  };

  it.each([
    ['codes under one unit', sixBits],
    ['halves', halves],
  ])('%s: descent and refit never add to the loss and stay storable', (_, store) => {
    const hessian = correlatedHessian(128, 16);
    const { w, q } = roundedRows(4, 128, 16, 17);
    let row = 0;
    for (const system of levelSystems(slowMath.product(w, hessian, q.cols), q, hessian)) {
      const start = store(Float64Array.from(q.scales.subarray(row * 8, row * 8 + 8)));
      const loss = (set: StoredLevels) => systemLoss(system, Float64Array.from(set.values));
      const before = loss(start);
      const gained = descendLevels(system, [start]);
      expect(gained).toBeGreaterThanOrEqual(0);
      expect((before - loss(start)) / gained).toBeCloseTo(1, 4);
      const descended = loss(start);
      const [best] = refitRow(system, [start], (wished) => [store(wished)]);
      expect(loss(best)).toBeLessThanOrEqual(descended);
      best.values.forEach((v, i) => {
        const unit = best.units[best.codes ? 0 : i];
        expect(v).toBe(Math.fround(unit * (best.codes?.[i] ?? 1)));
        expect(roundF16(unit)).toBe(unit);
      });
      row++;
    }
  });
});

describe('the kernels', async () => {
  const kernels = await loadKernels();
  const fast = refineMath(kernels, slowMath.product);

  it.each([
    [5, 96, 32, false],
    [3, 64, 16, true],
    [70, 48, 16, true],
    [1, 40, 8, false],
    [2, 30, 10, true],
  ])('%d rows of %d in groups of %d (minima: %s): codes as the reference, sums up to f32', (rows, cols, group, mins) => {
    const hessian = correlatedHessian(cols, 18);
    const { w, q } = roundedRows(rows, cols, group, 19, mins);
    const mark = kernels.mark();
    const slowSums = slowMath.groupSums(q, hessian, 0, rows);
    const fastSums = fast.groupSums(q, hessian, 0, rows);
    for (const kind of ['scaled', 'plain'] as const) {
      const [got, want] = [Array.from(fastSums[kind] ?? []), Array.from(slowSums[kind] ?? [])];
      const largest = want.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
      const groups = cols / group;
      for (const [i, v] of want.entries()) {
        // Only one half of scales meeting scales is defined. f32 sums of group² products stand against f64 ones.
        if (kind === 'scaled' && i % groups > Math.floor(i / groups) % groups) continue;
        expect(Math.abs(got[i] - v)).toBeLessThan(1e-5 * largest);
      }
    }
    const copy = { ...q, codes: q.codes.slice() };
    expect(descend(w, copy, hessian, { math: fast })).toBe(descend(w, q, hessian));
    expect(copy.codes).toEqual(q.codes);
    expect(kernels.mark()).toBe(mark);
  });
});
