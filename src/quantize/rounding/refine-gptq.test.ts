// Refined integer tiles: less loss in every row, levels that stay storable, zero points and tiles in activation order that stay.
import { describe, expect, it } from 'vitest';
import { loadKernels } from '../../kernels/kernels.ts';
import { floatTypes } from '../../numeric/float.ts';
import { Random } from '../../numeric/random.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { dequantizeTile } from '../dequantize.ts';
import type { GptqRounding } from '../scheme.ts';
import { correlatedHessian } from './correlated.fixture.ts';
import { factorizeHere } from './factorize.ts';
import { type GptqScheme, gptqRows } from './gptq-rows.ts';
import { slowMath } from './refine-math.ref.ts';
import { refineMath } from './refine-math.ts';
import { refineTile } from './refine-tile.ts';

const kernels = await loadKernels();
const math = refineMath(kernels, slowMath.product);
const [rows, cols] = [6, 256];
const hessian = correlatedHessian(cols, 1, 600);
const random = new Random(2);
const w = Float32Array.from({ length: rows * cols }, () => 0.02 * random.gaussian());

const rounding: GptqRounding = { kind: 'gptq', damp: 0.01, order: 'activation', groups: 'static', block: 128, refine: 0 };
const base: GptqScheme = {
  kind: 'integer',
  bits: 3,
  symmetric: true,
  granularity: { group: 64 },
  range: 'absmax-half',
  scaleType: 'f16',
  rounding,
};

function rounded(scheme: GptqScheme): QuantizedTile {
  const { damp, order } = scheme.rounding;
  const factor = factorizeHere(kernels, hessian, { damp, order, name: 'w' });
  if ('fallback' in factor) throw new Error(factor.fallback);
  return gptqRows(kernels, w, { name: 'w', shape: [rows, cols], from: 0, to: rows }, scheme, factor);
}

/** The loss of each row of what readers decode, in f64. */
function losses(tile: QuantizedTile): number[] {
  const decoded = dequantizeTile(tile);
  return Array.from({ length: rows }, (_, r) => {
    const e = Float64Array.from({ length: cols }, (_, c) => decoded[r * cols + c]! - w[r * cols + c]!);
    return e.reduce((sum, a, i) => sum + a * e.reduce((s, b, j) => s + b * hessian[i * cols + j]!, 0), 0);
  });
}

const held = ({ scale, zero, codes }: QuantizedTile) => structuredClone({ scale, zero, codes });

/** Of the loss after feedback 0.95 to 0.97 are left. */
const schemes: [string, Partial<GptqScheme>][] = [
  ['symmetric, signed', {}],
  ['symmetric, unsigned', { signed: false, range: 'absmax-gptq' }],
  ['symmetric, whole rows, bf16', { granularity: 'channel', scaleType: 'bf16' }],
  ['asymmetric', { symmetric: false, range: 'minmax' }],
  ['asymmetric, float zero', { symmetric: false, range: 'minmax', zero: 'float' }],
  ['asymmetric, minimum', { symmetric: false, range: 'minmax', zero: 'minimum' } as Partial<GptqScheme>],
];

describe('refineTile', () => {
  it.each(schemes)('%s: less loss in all, more in no row', (_, changes) => {
    const tile = rounded({ ...base, ...changes });
    const before = { ...held(tile), losses: losses(tile) };
    refineTile(w, tile, hessian, { rounds: 2, math });
    const after = losses(tile);
    for (const [r, loss] of after.entries()) expect(loss).toBeLessThanOrEqual(before.losses[r]! * (1 + 1e-5));
    const sum = (all: number[]) => all.reduce((a, b) => a + b, 0);
    expect(sum(after)).toBeLessThan(0.97 * sum(before.losses));
    expect(tile.zero).toEqual(before.zero);
    expect(tile.codes).not.toEqual(before.codes);
    const { round } = floatTypes[tile.scale!.stored as 'f16'];
    for (const [i, scale] of tile.scale!.values.entries()) {
      expect(round(scale)).toBe(scale);
      expect(scale * before.scale!.values[i]!).toBeGreaterThan(0);
    }
    expect(tile.scale!.values).not.toEqual(before.scale!.values);
  });

  it('no rounds change nothing, and so do groups that are no runs of columns', () => {
    const tile = rounded(base);
    const before = held(tile);
    refineTile(w, tile, hessian, { rounds: 0, math });
    expect(held(tile)).toEqual(before);
    const ordered = rounded({ ...base, rounding: { ...rounding, groups: 'dynamic' } });
    const codes = held(ordered);
    refineTile(w, ordered, hessian, { rounds: 2, math });
    expect(held(ordered)).toEqual(codes);
  });
});
