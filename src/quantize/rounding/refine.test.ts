// Descent, refitting and stored levels against what they promise: the loss by its definition, never more of it, and optima where
// they are known.
import { describe, expect, it } from 'vitest';
import { loadKernels } from '../../kernels/index.ts';
import { roundF16 } from '../../numeric/f16.ts';
import { correlatedHessian, roundedRows } from './correlated.fixture.ts';
import { descendLevels } from './descend-levels.ref.ts';
import { descend, descentState } from './descent.ts';
import { fitUnits } from './fit-units.ref.ts';
import { type LevelSystem, levelSystem, lossChange, slopeAt } from './level-system.ref.ts';
import { decodeRow, type LeveledRows, rowLosses } from './leveled-rows.ts';
import { slowMath } from './refine-math.ref.ts';
import { refineMath } from './refine-math.ts';
import { refitRow, relaxLevels } from './refit.ref.ts';
import { groupTotals, levelSystems } from './refit.ts';
import { gatherRows, type LevelRange, type StoredLevels } from './stored-levels.ts';

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

const kernels = await loadKernels();

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

  it.each([
    ['the reference', slowMath],
    ['the kernels', refineMath(kernels, slowMath.product)],
  ])('keeps codes where there is a slope without curvature (%s)', (_, math) => {
    const { w, q } = roundedRows(2, 32, 16, 6);
    const hessian = correlatedHessian(32, 7);
    hessian[5 * 33] = 0; // no Hessian, but a file may say so
    const before = q.codes.slice();
    descend(w, q, hessian, { math });
    expect([q.codes[5], q.codes[32 + 5]]).toEqual([before[5], before[32 + 5]]);
    expect(q.codes).not.toEqual(before);
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

/** The systems of all rows, by the reference. */
function systemsOf(w: Float32Array, q: LeveledRows, hessian: Float32Array): LevelSystem[] {
  const { gradient } = descentState(w, q, hessian, slowMath);
  return Array.from({ length: q.rows }, (_, row) => levelSystem(q, gradient, hessian, row));
}

const unbounded: LevelRange = {
  unit: 'f16',
  lowest: 0,
  highest: 63,
  highestMinimum: Number.POSITIVE_INFINITY,
  keepsSigns: false,
};

describe('refitted levels', () => {
  it.each([false, true])('the system is the loss as a function of the levels (minima: %s)', (mins) => {
    const hessian = correlatedHessian(64, 10);
    const { w, q } = roundedRows(3, 64, 16, 11, mins);
    for (const [row, system] of systemsOf(w, q, hessian).entries()) {
      const other = { ...q, scales: q.scales.map((s) => 1.1 * s), ...(q.mins ? { mins: q.mins.map((m) => 0.9 * m) } : {}) };
      const levelsOf = (x: LeveledRows) =>
        [x.scales, ...(x.mins ? [x.mins] : [])].flatMap((a) => [...a.subarray(row * 4, row * 4 + 4)]);
      const [there, here] = [levelsOf(other), levelsOf(q)];
      const change = lossChange(
        system,
        there.map((level, i) => level - here[i]),
      );
      expect(change / (lossOf(w, other, hessian, row) - lossOf(w, q, hessian, row))).toBeCloseTo(1, 4);
    }
  });

  it.each([false, true])('relaxing ends where the gradient is zero (minima: %s)', (mins) => {
    const hessian = correlatedHessian(64, 12);
    const { w, q } = roundedRows(2, 64, 16, 13, mins);
    q.scales.forEach((s, i) => {
      q.scales[i] = 3 * s;
    });
    for (const system of systemsOf(w, q, hessian)) {
      const levels = new Float64Array(system.size);
      relaxLevels(system, levels, undefined, 10_000);
      const largest = Math.max(...system.slope.map(Math.abs));
      for (const slope of slopeAt(system, levels)) expect(Math.abs(slope) / largest).toBeLessThan(0.01);
    }
  });

  it('minima stay at or under their bound, and groups without inputs keep their levels', () => {
    const hessian = correlatedHessian(64, 14);
    for (let i = 0; i < 64; i++) for (let j = 0; j < 16; j++) hessian[i * 64 + j] = hessian[j * 64 + i] = 0;
    const { w, q } = roundedRows(4, 64, 16, 15, true);
    for (let i = 0; i < w.length; i++) w[i] += 0.2; // wants minima above 0
    for (const [row, system] of systemsOf(w, q, hessian).entries()) {
      const start = Float64Array.from({ length: 8 }, (_, i) => (i < 4 ? q.scales : q.mins!)[row * 4 + (i % 4)]);
      const levels = start.slice();
      relaxLevels(system, levels, 0);
      expect(Math.max(...levels.subarray(4))).toBeLessThanOrEqual(0);
      expect(
        lossChange(
          system,
          levels.map((level, i) => level - start[i]),
        ),
      ).toBeLessThan(0);
      expect([levels[0], levels[4]]).toEqual([start[0], start[4]]);
    }
  });
});

/** Levels as a container would hold them, and rows under them. */
function storedRows(w: Float32Array, q: LeveledRows, shared: number): { rows: LeveledRows; sets: StoredLevels[] } {
  const store = (wished: Float32Array): StoredLevels => {
    if (shared === 1) return { units: wished.map(roundF16), values: wished.map(roundF16) };
    const n = wished.length;
    const levels = { units: new Float32Array(n / shared), codes: new Int16Array(n), values: new Float32Array(n) };
    fitUnits(
      wished,
      wished.map(() => 1),
      { ...unbounded, shared },
      levels,
    );
    return levels;
  };
  const sets = [q.scales, ...(q.mins ? [q.mins] : [])].map(store);
  const rows = { ...q, codes: q.codes.slice(), scales: sets[0].values, ...(q.mins && { mins: sets[1].values }) };
  descend(w, rows, correlatedHessian(q.cols, 16), { sweeps: 1 });
  return { rows, sets };
}

describe.each([1, 4, 8])('stored levels, %d under a unit', (shared) => {
  it.each([false, true])('descent and refit never add to the loss and stay storable (minima: %s)', (mins) => {
    const hessian = correlatedHessian(128, 16);
    const { w, q } = roundedRows(4, 128, 16, 17, mins);
    const { rows, sets } = storedRows(w, q, shared);
    for (const [row, system] of systemsOf(w, rows, hessian).entries()) {
      const start = gatherRows(sets, 4, row, row + 1);
      const change = (to: StoredLevels) =>
        lossChange(
          system,
          Float64Array.from(to.values, (v, i) => v - start.values[i]),
        );
      const descended = gatherRows(sets, 4, row, row + 1);
      const gained = descendLevels(system, system.slope.slice(), descended, unbounded, 4);
      expect(gained).toBeGreaterThanOrEqual(0);
      expect(Math.abs(change(descended) + gained)).toBeLessThanOrEqual(1e-6 * gained);
      const best = gatherRows(sets, 4, row, row + 1);
      refitRow(system, best, unbounded);
      expect(change(best)).toBeLessThanOrEqual(0);
      best.values.forEach((v, i) => {
        const unit = best.units[Math.floor(i / shared)];
        expect(v).toBe(Math.fround(unit * (best.codes?.[i] ?? 1)));
        expect(roundF16(unit)).toBe(unit);
      });
    }
  });
});

describe('scales that are units and keep their sign', () => {
  const range: LevelRange = { unit: 'f16', lowest: 1, highest: 1, highestMinimum: 0, keepsSigns: true };

  it.each([
    ['the reference', slowMath],
    ['the kernels', refineMath(kernels, slowMath.product)],
  ])('refits alone never add to the loss of a row, whatever signs the fit wishes (%s)', (_, math) => {
    let flipped = 0;
    for (let seed = 0; seed < 400; seed++) {
      const hessian = correlatedHessian(32, 1000 + seed, 40);
      const { w, q } = roundedRows(2, 32, 4, 2000 + seed);
      q.scales.set(q.scales.map(roundF16));
      // Coarse codes, whose joint fit often turns a scale around.
      q.codes.forEach((code, i) => {
        q.codes[i] = Math.max(7, Math.min(9, code));
      });
      const before = Array.from({ length: q.rows }, (_, row) => lossOf(w, q, hessian, row));
      for (const [row, system] of systemsOf(w, q, hessian).entries()) {
        const wished = Float64Array.from(q.scales.subarray(row * system.size, (row + 1) * system.size));
        relaxLevels(system, wished);
        flipped += Number(wished.some((x) => x < 0));
      }
      math.refit(descentState(w, q, hessian, math), hessian, { ...range, sets: [{ units: q.scales, values: q.scales }] });
      for (const [row, loss] of before.entries()) expect(lossOf(w, q, hessian, row)).toBeLessThanOrEqual(loss * (1 + 1e-6));
      expect(q.scales.every((scale) => scale > 0 && roundF16(scale) === scale)).toBe(true);
    }
    expect(flipped).toBeGreaterThan(100);
  });

  it('a group whose fit overflows keeps its scale, the others get theirs', () => {
    const system = { groups: 2, size: 2, matrix: Float32Array.of(1, 0, 0, 1), slope: Float64Array.of(-3.4e38, -1) };
    const values = Float32Array.of(1, 1);
    refitRow(system, { units: values, values }, { ...range, unit: 'bf16' });
    expect(values).toEqual(Float32Array.of(1, 2));
  });
});

describe('the kernels', () => {
  const fast = refineMath(kernels, slowMath.product);

  it.each([
    [5, 96, 32, false],
    [3, 64, 16, true],
    [70, 48, 16, true],
    [1, 40, 8, false],
    [2, 30, 10, true],
  ])('%d rows of %d in groups of %d (minima: %s): codes as the reference', (rows, cols, group, mins) => {
    const hessian = correlatedHessian(cols, 18);
    const { w, q } = roundedRows(rows, cols, group, 19, mins);
    const mark = kernels.mark();
    const copy = { ...q, codes: q.codes.slice() };
    const [state, slow] = [descentState(w, copy, hessian, fast), descentState(w, q, hessian, slowMath)];
    expect(fast.descend(state, hessian, 3)).toBe(slowMath.descend(slow, hessian, 3));
    expect(copy.codes).toEqual(q.codes);
    expect(state.gradient).toEqual(slow.gradient);
    expect(state.decoded).toEqual(slow.decoded);
    expect(kernels.mark()).toBe(mark);
  });

  const shapes: [number, number, number, number, boolean, Partial<LevelRange>][] = [
    [4, 128, 16, 8, false, {}],
    [9, 256, 16, 8, true, { highestMinimum: 0, highest: 15 }],
    [66, 64, 16, 4, true, {}],
    [3, 96, 32, 1, false, {}],
    [3, 96, 32, 1, true, {}],
    [2, 60, 12, 1, false, { unit: 'bf16', keepsSigns: true }],
    [2, 64, 64, 1, false, { unit: 'f32', keepsSigns: true }],
  ];
  it.each(shapes)('%d rows of %d in groups of %d, %d under a unit (minima: %s) %o: levels as the reference', (...shape) => {
    const [rows, cols, group, shared, mins, options] = shape;
    const range = { ...unbounded, ...options };
    const hessian = correlatedHessian(cols, 16);
    const { w, q } = roundedRows(rows, cols, group, 20, mins);
    const { rows: held, sets } = storedRows(w, q, shared);
    const state = descentState(w, held, hessian, slowMath);
    const before = losses(w, held, hessian);
    const mark = kernels.mark();
    const systems = levelSystems(kernels, state, hessian, mins ? groupTotals(hessian, cols, group) : undefined, 0, rows);
    const { size, matrix, slope } = systems;
    for (const [row, system] of systemsOf(w, held, hessian).entries()) {
      const fastSystem: LevelSystem = {
        ...system,
        matrix: kernels.f32(matrix + 4 * row * size * size, size * size).slice(),
        slope: kernels.f64(slope + 8 * row * size, size).slice(),
      };
      // f32 sums of group² products stand against f64 ones; slopes are summed in the same order.
      const largest = Math.max(...system.matrix.map(Math.abs));
      fastSystem.matrix.forEach((v, i) => {
        expect(Math.abs(v - system.matrix[i])).toBeLessThan(1e-5 * largest);
        expect(v).toBe(fastSystem.matrix[(i % size) * size + Math.floor(i / size)]);
      });
      expect(fastSystem.slope).toEqual(system.slope);
      const expected = gatherRows(sets, rows, row, row + 1);
      refitRow(fastSystem, expected, range);
      const found = sets.map((set) => ({
        units: set.units.slice(),
        values: set.values.slice(),
        ...(set.codes && { codes: set.codes.slice() }),
      }));
      fast.refit(state, hessian, { ...range, sets: found });
      expect(gatherRows(found, rows, row, row + 1)).toEqual(expected);
    }
    kernels.reset(mark);
    fast.refit(state, hessian, { ...range, sets });
    for (const [row, loss] of losses(w, held, hessian).entries()) expect(loss).toBeLessThanOrEqual(before[row] * (1 + 1e-6));
    expect(kernels.mark()).toBe(mark);
  });
});
