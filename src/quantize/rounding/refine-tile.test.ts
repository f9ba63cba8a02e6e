// Refined integer tiles: less loss in every row, scales of the same type and sign, and the same result for any cut into rows.
import { describe, expect, it } from 'vitest';
import { loadKernels } from '../../kernels/index.ts';
import { roundF16 } from '../../numeric/f16.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { dequantizeTile } from '../dequantize.ts';
import { correlatedHessian, roundedRows } from './correlated.fixture.ts';
import { slowMath } from './refine-math.ref.ts';
import { refineMath } from './refine-math.ts';
import { refineTile } from './refine-tile.ts';

const math = refineMath(await loadKernels(), slowMath.product);
const [rows, cols, group] = [10, 128, 32];
const hessian = correlatedHessian(cols, 31);

/** Rows [from, to) of unsigned 4-bit codes around `zero`, every third scale negative. */
function start(from: number, to: number, zero = 8): { w: Float32Array; tile: QuantizedTile } {
  const { w, q } = roundedRows(rows, cols, group, 32);
  const [width, groups] = [to - from, cols / group];
  const scales = q.scales.map((s, i) => roundF16(i % 3 ? s : -s));
  const codes = q.codes.map((code, i) => (Math.floor(i / group) % 3 ? code : Math.min(15, 16 - code)));
  const values = new Float32Array(width * groups).fill(zero);
  const per = { rows: 1, cols: group };
  const tile: QuantizedTile = {
    name: 'w',
    shape: [rows, cols],
    from,
    to,
    grid: { kind: 'integer', bits: 4, signed: false },
    codes: codes.slice(from * cols, to * cols),
    scale: { stored: 'f16', per, values: scales.slice(from * groups, to * groups) },
    zero: { kind: 'integer', levels: { stored: { bits: 4 }, per, values } },
  };
  return { w: w.slice(from * cols, to * cols), tile };
}

function losses(w: Float32Array, tile: QuantizedTile): Float64Array {
  const errors = dequantizeTile(tile).map((v, i) => v - w[i]!);
  const fed = slowMath.product(errors, hessian, cols);
  const sums = new Float64Array(w.length / cols);
  errors.forEach((e, i) => {
    sums[Math.floor(i / cols)]! += e * fed[i]!;
  });
  return sums;
}

describe('integer tiles', () => {
  it.each([8, 7])('zero point %d: every row loses less; scales change and keep their signs', (zero) => {
    const { w, tile } = start(0, rows, zero);
    const [before, scales] = [losses(w, tile), tile.scale!.values.slice()];
    refineTile(w, tile, hessian, { rounds: 2, math });
    for (const [r, loss] of losses(w, tile).entries()) expect(loss).toBeLessThan(before[r]!);
    expect(scales.some((s, i) => s !== tile.scale!.values[i])).toBe(true);
    for (const [i, s] of tile.scale!.values.entries()) {
      expect(roundF16(s)).toBe(s);
      expect(s * scales[i]!).toBeGreaterThan(0);
    }
  });

  it('become the same however their rows are cut', () => {
    const whole = start(0, rows);
    refineTile(whole.w, whole.tile, hessian, { rounds: 2, math });
    const part = start(3, 5);
    refineTile(part.w, part.tile, hessian, { rounds: 2, math });
    expect(part.tile.codes).toEqual((whole.tile.codes as Uint8Array).slice(3 * cols, 5 * cols));
    expect(part.tile.scale!.values).toEqual(whole.tile.scale!.values.slice(12, 20));
  });

  it('stay as they are without rounds', () => {
    const { w, tile } = start(0, rows);
    refineTile(w, tile, hessian, { rounds: 0, math });
    expect(tile).toEqual(start(0, rows).tile);
  });
});
