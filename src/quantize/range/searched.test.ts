/** Ranges that search, without statistics: sqnr and entropy (hqq is in hqq.test.ts). */
import { describe, expect, it } from 'vitest';
import { Random } from '../../numeric/random.ts';
import { describeRange, errorOf, quantizeMatrix, rangeContext, rangeOf, surveyLimits } from '../index.ts';
import type { MatrixScheme } from '../scheme.ts';

const random = new Random(3);
const gaussian = Float32Array.from({ length: 60_000 }, () => random.gaussian());
const laplace = Float32Array.from({ length: 60_000 }, () => {
  const u = random.uniform() - 0.5;
  return -Math.sign(u) * Math.log(1 - 2 * Math.abs(u));
});
const uniform = Float32Array.from({ length: 60_000 }, () => 2 * random.uniform() - 1);

const scheme = (bits: number, range: MatrixScheme['range'], symmetric = true): MatrixScheme => ({
  kind: 'integer',
  bits,
  symmetric,
  granularity: 'tensor',
  range,
  scaleType: 'f32',
});
const reach = (x: Float32Array, bits: number): number => surveyLimits(x, scheme(bits, 'entropy')).max;
const largest = (x: Float32Array): number => x.reduce((most, v) => Math.max(most, Math.abs(v)), 0);

describe('sqnr', () => {
  it.each([8, 4, 3])('has the largest signal-to-noise ratio of all candidates at %i bits, whatever the power of mse', (bits) => {
    const x = laplace.subarray(0, 4096);
    const found = errorOf(x, quantizeMatrix(x, [1, 4096], { ...scheme(bits, 'sqnr'), rangeOptions: { power: 1 } }).tile).sqnr;
    const all = surveyLimits(x, scheme(bits, 'absmax-narrow'));
    const each = Array.from({ length: 80 }, (_, i) => {
      const limits = { min: all.min * (1 - i / 100), max: all.max * (1 - i / 100) };
      const context = rangeContext(scheme(bits, 'absmax-narrow'));
      const step = rangeOf('absmax-narrow', true).scale(limits, context);
      const noise = x.reduce((sum, v) => {
        const q = Math.max(context.grid.qMin, Math.min(Math.round(v / step), context.grid.qMax));
        return sum + (v - q * step) ** 2;
      }, 0);
      return 10 * Math.log10(x.reduce((sum, v) => sum + v * v, 0) / noise);
    });
    expect(found).toBeCloseTo(Math.max(...each), 3);
    expect(found).toBeGreaterThan(each[0]! - 1e-6);
  });
});

describe('entropy', () => {
  it('clips more where bits are fewer and tails longer, and a uniform distribution hardly', () => {
    const [g8, g4, l4] = [reach(gaussian, 8), reach(gaussian, 4), reach(laplace, 4)];
    expect(g4).toBeLessThan(g8);
    expect(l4 / largest(laplace)).toBeLessThan(g4 / largest(gaussian));
    expect(reach(uniform, 4)).toBeGreaterThan(0.9);
  });

  it('has the least divergence of all candidates by its definition', () => {
    const x = laplace.subarray(0, 4096);
    const bins = 512;
    const all = surveyLimits(x, scheme(4, 'absmax-narrow'));
    const width = (all.max - all.min) / bins;
    const binOf = (v: number): number => Math.min(Math.floor((v - all.min) / width), bins - 1);
    const codeOf = (bin: number, step: number): number => Math.round((all.min + (bin + 0.5) * width) / step);
    const divergences = Array.from({ length: 80 }, (_, i) => {
      const step = (Math.max(-all.min, all.max) * (1 - i / 100)) / 7;
      const inside = Array.from({ length: bins }, (_, bin) => bin).filter((bin) => Math.abs(codeOf(bin, step) + 0.5) < 8);
      const [first, last] = [inside[0]!, inside[inside.length - 1]!];
      const p = new Map(inside.map((bin) => [bin, 0]));
      const kept = new Map(inside.map((bin) => [bin, 0]));
      for (const v of x) {
        const bin = Math.max(first, Math.min(binOf(v), last));
        p.set(bin, p.get(bin)! + 1);
        if (bin === binOf(v)) kept.set(bin, kept.get(bin)! + 1);
      }
      const total = [...kept.values()].reduce((sum, c) => sum + c, 0);
      return inside.reduce((sum, bin) => {
        if (p.get(bin) === 0) return sum;
        const same = inside.filter((other) => codeOf(other, step) === codeOf(bin, step));
        const mass = same.reduce((m, other) => m + kept.get(other)!, 0);
        const q = (mass || 1e-4) / (mass ? same.filter((other) => p.get(other)! > 0).length : 1) / total;
        return sum + (p.get(bin)! / 4096) * Math.log(p.get(bin)! / 4096 / q);
      }, 0);
    });
    const best = divergences.indexOf(Math.min(...divergences));
    expect(surveyLimits(x, scheme(4, 'entropy')).max / all.max).toBeCloseTo(1 - best / 100, 6);
    expect(best).toBeGreaterThan(20);
  });

  it('is near the best uniform quantizer of a gaussian (Max 1960: 16 levels 0.335 apart)', () => {
    expect(reach(gaussian, 4) / 7 / 0.335).toBeCloseTo(1, 1);
  });

  it('keeps the extremes of groups that are too small for a histogram, of equal values and of zeros', () => {
    const few = laplace.subarray(0, 128);
    expect(surveyLimits(few, scheme(4, 'entropy'))).toEqual(surveyLimits(few, scheme(4, 'absmax-narrow')));
    expect(surveyLimits(new Float32Array(512).fill(0.5), scheme(2, 'entropy'))).toEqual({ min: 0.5, max: 0.5 });
    const { tile } = quantizeMatrix(new Float32Array(512), [2, 256], { ...scheme(3, 'entropy'), granularity: 'channel' });
    expect([...tile.scale!.values]).toEqual([1, 1]);
  });

  it.each(['float', 'integer', 'minimum'] as const)('works for asymmetric schemes with a zero of kind %s', (zero) => {
    const shifted = gaussian.subarray(0, 8192).map((v) => v + 1.5);
    const limits = surveyLimits(shifted, { ...scheme(4, 'entropy', false), zero });
    expect(limits.min).toBeLessThan(0);
    expect(limits.max).toBeGreaterThan(3.5);
    expect(limits.max).toBeLessThan(largest(shifted));
  });

  it('says its formula', () => {
    expect(describeRange(scheme(4, 'entropy'))).toContain('r = 1 below 256 values');
    expect(describeRange(scheme(4, 'sqnr'))).toContain('Σx² / Σ(x - x̂)²');
  });
});
