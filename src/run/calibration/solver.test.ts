// The Hessian that refinement goes by: inputs that are always zero have no say.
import { describe, expect, it } from 'vitest';
import { loadKernels } from '../../kernels/kernels.ts';
import { Random } from '../../numeric/random.ts';
import { dequantizeTile } from '../../quantize/dequantize.ts';
import { correlatedHessian } from '../../quantize/rounding/correlated.fixture.ts';
import { factorizeHere } from '../../quantize/rounding/factorize.ts';
import { type GptqScheme, gptqRows } from '../../quantize/rounding/gptq-rows.ts';
import { symmetricProductOf } from '../../quantize/rounding/products.ts';
import { refineMath } from '../../quantize/rounding/refine-math.ts';
import { refineTile } from '../../quantize/rounding/refine-tile.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { damped } from './solver.ts';

const kernels = await loadKernels();
const [rows, cols] = [16, 32];
const dead = [3, 11, 12, 30];
const rounding = { kind: 'gptq', damp: 0.01, order: 'natural', groups: 'static', block: 128, refine: 2 } as const;
const scheme: GptqScheme = {
  kind: 'integer',
  bits: 3,
  symmetric: true,
  signed: true,
  granularity: { group: 16 },
  range: 'absmax-half',
  scaleType: 'f16',
  emptyGroup: 'unit',
  rounding,
};

/** 28 inputs of mean square 1e-4 on average and 4 that are zero. */
function hessianWithDead(): Float32Array {
  const h = correlatedHessian(cols, 5);
  for (const i of dead) for (let j = 0; j < cols; j++) h[i * cols + j] = h[j * cols + i] = 0;
  let trace = 0;
  for (let i = 0; i < cols; i++) trace += h[i * (cols + 1)]!;
  return h.map((x) => (x * 28e-4) / trace);
}

function loss(w: Float32Array, tile: QuantizedTile, h: Float32Array): number {
  const e = dequantizeTile(tile).map((value, i) => value - w[i]!);
  let sum = 0;
  for (let row = 0; row < e.length; row += cols)
    for (let i = 0; i < cols; i++) for (let j = 0; j < cols; j++) sum += e[row + i]! * h[i * cols + j]! * e[row + j]!;
  return sum;
}

describe('refinement beside dead inputs', () => {
  const hessian = hessianWithDead();
  const factor = factorizeHere(kernels, hessian, { ...rounding, name: 'test' });
  if ('fallback' in factor) throw new Error(factor.fallback);

  it('the damp is a share of what inputs there are', () => {
    const h = damped(hessian, factor);
    for (let i = 0; i < cols; i++) {
      const expected = dead.includes(i) ? 0 : hessian[i * (cols + 1)]! + (0.01 * 28e-4) / cols;
      expect(Math.abs(h[i * (cols + 1)]! - expected)).toBeLessThan(1e-9);
    }
  });

  it('the output errs less, and dead weights stay', () => {
    const random = new Random(6);
    const w = Float32Array.from({ length: rows * cols }, () => 0.02 * random.gaussian());
    const tile = gptqRows(kernels, w, { name: 'w', shape: [rows, cols], from: 0, to: rows }, scheme, factor);
    const [before, codes] = [loss(w, tile, hessian), tile.codes.slice()];
    refineTile(w, tile, damped(hessian, factor), { rounds: 2, math: refineMath(kernels, symmetricProductOf(kernels)) });
    expect(loss(w, tile, hessian)).toBeLessThanOrEqual(before);
    expect(tile.codes).not.toEqual(codes);
    const values = dequantizeTile(tile);
    for (let row = 0; row < rows; row++) {
      for (const i of dead) {
        expect(tile.codes[row * cols + i]).toBe(codes[row * cols + i]);
        expect(values[row * cols + i]).toBe(0);
      }
    }
  });
});
