// Blocks rounded with feedback: they lose less than the type's own encoder, refinement takes more off, rows do not see each other.
import { describe, expect, it } from 'vitest';
import { encodeRows, loadKernels } from '../../../kernels/index.ts';
import { Random } from '../../../numeric/random.ts';
import { correlatedHessian } from '../../../quantize/rounding/correlated.fixture.ts';
import { factorizeHere } from '../../../quantize/rounding/factorize.ts';
import { rowLosses } from '../../../quantize/rounding/leveled-rows.ts';
import { slowMath } from '../../../quantize/rounding/refine-math.ref.ts';
import { refineMath } from '../../../quantize/rounding/refine-math.ts';
import { storageBytes } from '../../../tensor/storage.ts';
import { type LevelType, leveledRows, roundBlocks } from './index.ts';
import { layouts } from './layouts.ts';

const kernels = await loadKernels();
const math = refineMath(kernels, slowMath.product);
const [rows, cols] = [4, 512];
const hessian = correlatedHessian(cols, 1, 700);
const meansquare = Float32Array.from({ length: cols }, (_, c) => hessian[c * (cols + 1)]!);
const random = new Random(3);
const w = Float32Array.from({ length: rows * cols }, () => 0.02 * random.gaussian());
const factor = factorizeHere(kernels, hessian, { damp: 0.01, order: 'activation', name: 'w' });
if ('fallback' in factor) throw new Error(factor.fallback);

describe.each(Object.keys(layouts) as LevelType[])('%s', (type) => {
  const made = (rounds: number, target = w) =>
    roundBlocks(kernels, type, target, { factor, meansquare, hessian, rounds, math, name: 'w' });
  const loss = (bytes: Uint8Array) => rowLosses(w, leveledRows(type, bytes, cols), hessian, slowMath.product);
  const sum = (all: Float64Array) => all.reduce((a, b) => a + b, 0);

  it('loses less than its encoder in every row, and refined less than that', () => {
    const [encoded, fed, refined] = [loss(encodeRows(kernels, type, w, cols, meansquare)), loss(made(0)), loss(made(2))];
    for (let r = 0; r < rows; r++) {
      expect(fed[r]).toBeLessThan(encoded[r]!);
      // A descent from a solution of feedback: no row gets worse.
      expect(refined[r]).toBeLessThanOrEqual(fed[r]! * (1 + 1e-6));
    }
    // 0.11 (q5_1) to 0.29 (q6_k) on these inputs.
    expect(sum(fed)).toBeLessThan(0.3 * sum(encoded));
    // q5_k gains least: 0.993.
    expect(sum(refined)).toBeLessThan(0.996 * sum(fed));
  });

  it('starts from searched levels: fed back they lose less than the encoder too', () => {
    const searched = roundBlocks(kernels, type, w, {
      factor,
      meansquare,
      hessian,
      rounds: 0,
      math,
      encoder: 'search',
      name: 'w',
    });
    expect(sum(loss(searched))).toBeLessThan(0.3 * sum(loss(encodeRows(kernels, type, w, cols, meansquare))));
    expect(searched).not.toEqual(made(0));
  });

  it('gives a row the same bytes alone', () => {
    const size = storageBytes(type, cols);
    expect(made(1, w.slice(cols, 2 * cols))).toEqual(made(1).slice(size, 2 * size));
  });
});
