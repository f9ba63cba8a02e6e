// Scales that move one at a time: the kernel as its reference, bit by bit, never more loss, and what can be stored.
import { describe, expect, it } from 'vitest';
import { loadKernels } from '../../kernels/index.ts';
import { roundF16 } from '../../numeric/f16.ts';
import { correlatedHessian, roundedRows } from './correlated.fixture.ts';
import { descentState } from './descent.ts';
import { type LeveledRows, rowLosses } from './leveled-rows.ts';
import { slowMath } from './refine-math.ref.ts';
import { refineMath } from './refine-math.ts';
import { placesIn, type SingleScales } from './single-scales.ts';

const math = refineMath(await loadKernels(), slowMath.product);
const [rows, cols, group] = [11, 96, 16];
const hessian = correlatedHessian(cols, 12);
const powers = Float32Array.from({ length: 40 }, (_, i) => 2 ** (i - 20));
const multiples = Float32Array.from({ length: rows * 63 }, (_, i) => ((i % 63) + 1) * 1e-4 * (1 + Math.floor(i / 63) / 10));

interface Case {
  name: string;
  storage: SingleScales;
  zeros?: boolean;
  minima?: boolean;
  kept?: boolean;
  own?: boolean;
}

const cases: Case[] = [
  { name: 'powers of two', storage: { list: powers, count: powers.length } },
  { name: 'multiples of a float of the row', storage: { list: multiples, count: 63 } },
  { name: 'f16 beside zero points', storage: { unit: 'f16' }, zeros: true },
  { name: 'f16 beside minima that stay', storage: { unit: 'f16' }, minima: true },
  { name: 'bf16 beside kept cells', storage: { unit: 'bf16' }, kept: true },
  { name: 'f32 over values of each row', storage: { unit: 'f32' }, own: true },
];

function start({ zeros, minima, kept, own }: Case): { w: Float32Array; q: LeveledRows } {
  const { w, q } = roundedRows(rows, cols, group, 21);
  q.scales.forEach((s, i) => {
    q.scales[i] = roundF16(i % 5 === 4 && !zeros ? -s : s);
  });
  q.scales[3] = 0;
  if (own) {
    q.values = Float32Array.from({ length: rows * 16 }, (_, i) => (i % 16) - 8 + Math.floor(i / 16) / 20);
    q.entries = 16;
  }
  if (zeros) {
    q.zeros = q.scales.map((_, i) => (i % 4) - 2);
    q.mins = q.zeros.map((zero, i) => -zero * q.scales[i]!);
  }
  if (minima) q.mins = q.scales.map((_, i) => 0.01 * ((i % 3) - 1));
  if (kept) q.kept = { mask: Uint8Array.from(w, (_, i) => (i % 13 ? 0 : 255)), values: w.map((value) => value * 1.1) };
  return { w, q };
}

describe.each(cases)('$name', (one) => {
  it('moves as the reference does, downhill in every row, to what can be stored', () => {
    const [fast, slow] = [start(one), start(one)];
    const before = rowLosses(fast.w, fast.q, hessian, slowMath.product);
    const held = fast.q.scales.slice();
    const states = [descentState(fast.w, fast.q, hessian, slowMath), descentState(slow.w, slow.q, hessian, slowMath)] as const;
    const changed = math.stepScales(states[0], hessian, one.storage);
    expect(changed).toBe(slowMath.stepScales(states[1], hessian, one.storage));
    expect(changed).toBeGreaterThan(held.length / 4);
    expect(fast.q.scales).toEqual(slow.q.scales);
    expect(fast.q.mins).toEqual(slow.q.mins);
    expect(states[0].gradient).toEqual(states[1].gradient);
    expect(states[0].decoded).toEqual(states[1].decoded);
    const after = rowLosses(fast.w, fast.q, hessian, slowMath.product);
    for (const [r, loss] of after.entries()) expect(loss).toBeLessThanOrEqual(before[r]! * (1 + 1e-5));
    expect(after.reduce((a, b) => a + b)).toBeLessThan(0.98 * before.reduce((a, b) => a + b));
    const moved = fast.q.scales.filter((s, i) => s !== held[i]);
    if ('list' in one.storage)
      expect(placesIn(one.storage, fast.q.scales, cols / group).filter((place) => place >= 0).length).toBeGreaterThanOrEqual(
        changed,
      );
    else if (one.storage.unit === 'f16') expect(moved.map(roundF16)).toEqual(moved);
    for (const [i, s] of fast.q.scales.entries()) expect(Math.sign(s)).toBe(Math.sign(held[i]!));
  });

  it('keeps the state that is worked out anew', () => {
    const { w, q } = start(one);
    const state = descentState(w, q, hessian, slowMath);
    math.stepScales(state, hessian, one.storage);
    const anew = descentState(w, q, hessian, slowMath);
    const size = Math.max(...anew.gradient.map(Math.abs));
    for (let i = 0; i < w.length; i++) {
      expect(Math.abs(state.decoded[i]! - anew.decoded[i]!)).toBeLessThan(1e-6);
      expect(Math.abs(state.gradient[i]! - anew.gradient[i]!)).toBeLessThan(1e-4 * size);
    }
  });
});
