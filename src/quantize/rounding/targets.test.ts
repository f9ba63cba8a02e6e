// Targets against their formula in f64, against what they promise of outputs, and bit by bit against themselves in other cuts.
import { describe, expect, it } from 'vitest';
import { loadKernels } from '../../kernels/kernels.ts';
import { Random } from '../../numeric/random.ts';
import { correlated, correlatedHessian } from './correlated.fixture.ts';
import type { Drift } from './drift.ts';
import type { Factor } from './factor.ts';
import { type FactorOptions, factorizeHere } from './factorize.ts';
import { targetsOf } from './targets.ref.ts';
import { correctedTargets } from './targets.ts';

const kernels = await loadKernels();
/** β */
const share = 0.5;

function gaussian(n: number, seed: number, gain = 1): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => gain * random.gaussian());
}

function factorOf(hessian: Float32Array, options: Partial<FactorOptions> = {}): Factor {
  const factor = factorizeHere(kernels, hessian, { damp: 0.01, order: 'activation', name: 'up_proj', ...options });
  if ('fallback' in factor) throw new Error(factor.fallback);
  return factor;
}

/** Makes columns of the inputs zero. */
function kill(hessian: Float32Array, cols: number, dead: readonly number[]): void {
  for (const k of dead) for (let i = 0; i < cols; i++) hessian[k * cols + i] = hessian[i * cols + k] = 0;
}

/** |a - b| / |b| */
function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [miss, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    miss += (a[i]! - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return Math.sqrt(miss / size);
}

const minus = (a: ArrayLike<number>, b: Float32Array) => Float64Array.from(b, (x, i) => a[i]! - x);

describe('correctedTargets', () => {
  it.each([
    [40, 'natural', correlated, []],
    [128, 'activation', correlated, [3]],
    [300, 'activation', correlated, []],
    [300, 'natural', correlatedHessian, [0, 130, 299]],
    [259, 'activation', correlatedHessian, [7, 128]],
  ] as const)('%i columns in %s order: the formula in f64', (cols, order, hessianOf, dead) => {
    const rows = 11;
    const hessian = hessianOf(cols, 1);
    kill(hessian, cols, dead);
    const [w, input, residual] = [gaussian(rows * cols, 2, 0.02), gaussian(cols * cols, 3, 0.1), gaussian(rows * cols, 4, 0.01)];
    for (const k of dead) {
      for (let i = 0; i < cols; i++) input[i * cols + k] = 0;
      for (let r = 0; r < rows; r++) residual[r * cols + k] = 0;
    }
    const factor = factorOf(hessian, { order });
    for (const e of [residual, undefined]) {
      const targets = correctedTargets(kernels, w, { input, ...(e && { residual: e }) }, factor);
      const wanted = targetsOf(w, input, e ?? new Float32Array(w.length), hessian, cols, 0.01, share);
      // All steps are in f32: rounding leaves up to 3.5e-6.
      expect(distance(minus(targets, w), minus(wanted, w))).toBeLessThan(1e-5);
      for (const k of dead) for (let r = 0; r < rows; r++) expect(targets[r * cols + k]).toBe(w[r * cols + k]);
    }
  });

  const cols = 300;
  const rows = 21;
  const factor = factorOf(correlated(cols, 5));
  const w = gaussian(rows * cols, 6, 0.02);
  const drift: Drift = { input: gaussian(cols * cols, 7, 0.1), residual: gaussian(rows * cols, 8, 0.01) };
  const targets = correctedTargets(kernels, w, drift, factor);

  it('of a row have the same bits whatever rows lie beside it', () => {
    for (const cuts of [
      [0, 1, 21],
      [0, 8, 13, 21],
      [0, 20, 21],
    ]) {
      for (const [i, to] of cuts.slice(1).entries()) {
        const [from, end] = [cuts[i]! * cols, to * cols];
        const part = { input: drift.input, residual: drift.residual!.subarray(from, end) };
        expect(correctedTargets(kernels, w.subarray(from, end), part, factor)).toEqual(targets.subarray(from, end));
      }
    }
  });

  it('take shared memory and weights in the arena, leave both alone, and free what they reserve', () => {
    const input = new Float32Array(new SharedArrayBuffer(drift.input.byteLength));
    input.set(drift.input);
    const mark = kernels.mark();
    const at = kernels.alloc(w.byteLength);
    kernels.f32(at, w.length).set(w);
    const top = kernels.mark();
    expect(correctedTargets(kernels, kernels.f32(at, w.length), { ...drift, input }, factor)).toEqual(targets);
    expect(kernels.mark()).toBe(top);
    expect(kernels.f32(at, w.length)).toEqual(w);
    kernels.reset(mark);
  });

  it('are the weights themselves without a drift, to the bit', () => {
    const signed = w.slice();
    signed[5] = -0;
    const zero: Drift = { input: new Float32Array(cols * cols), residual: new Float32Array(rows * cols) };
    const same = correctedTargets(kernels, signed, zero, factor);
    expect(new Uint32Array(same.buffer)).toEqual(new Uint32Array(signed.buffer));
  });

  it('leave weights of dead inputs alone whatever the drift says', () => {
    const hessian = correlated(cols, 5);
    kill(hessian, cols, [4, 200]);
    const out = correctedTargets(kernels, w, drift, factorOf(hessian));
    for (let r = 0; r < rows; r++) for (const k of [4, 200]) expect(out[r * cols + k]).toBe(w[r * cols + k]);
    expect(distance(out, w)).toBeGreaterThan(0.01);
  });

  it('refuse sizes that do not fit, and NaN', () => {
    expect(() => correctedTargets(kernels, w.subarray(1), drift, factor, 'o_proj')).toThrow(/o_proj/);
    expect(() => correctedTargets(kernels, w, { input: drift.input.subarray(1) }, factor)).toThrow('does not fit');
    expect(() => correctedTargets(kernels, w.subarray(cols), drift, factor)).toThrow('does not fit');
    const bad = w.slice();
    bad[cols + 2] = Number.NaN;
    expect(() => correctedTargets(kernels, bad, drift, factor, 'o_proj')).toThrow('row 1, column 2');
    const input = drift.input.slice();
    input[0] = Number.POSITIVE_INFINITY;
    const mark = kernels.mark();
    expect(() => correctedTargets(kernels, w, { input }, factor, 'o_proj')).toThrow('overflows');
    expect(kernels.mark()).toBe(mark);
  });
});

describe('outputs', () => {
  const [cols, rows, tokens] = [150, 9, 400];
  // x = A x0 + noise: what a quantized model reads where the unquantized one reads x0. [tokens, cols]
  const random = new Random(9);
  const x0 = new Float32Array(tokens * cols);
  const x = new Float32Array(tokens * cols);
  for (let t = 0; t < tokens; t++) {
    let last = 0;
    for (let c = 0; c < cols; c++) {
      last = 0.8 * last + 0.6 * random.gaussian();
      x0[t * cols + c] = last;
      x[t * cols + c] = 0.9 * last + 0.1 * x0[t * cols + (c || 1) - 1]! + 0.2 * random.gaussian();
    }
  }
  /** h0 - h, [tokens, rows]: some of it can be told from x. */
  const moved = Float32Array.from({ length: tokens * rows }, (_, at) => {
    const [t, r] = [Math.floor(at / rows), at % rows];
    return 0.05 * (x[t * cols + r]! - x[t * cols + 2 * r + 1]!) + 0.02 * random.gaussian();
  });
  const w = gaussian(rows * cols, 10, 0.1);
  /** mean of a b' over tokens: a: [tokens, m], b: [tokens, cols] */
  const cross = (a: (at: number) => number, b: Float32Array, m: number) =>
    Float32Array.from({ length: m * cols }, (_, at) => {
      const [i, j] = [Math.floor(at / cols), at % cols];
      let sum = 0;
      for (let t = 0; t < tokens; t++) sum += a(t * m + i) * b[t * cols + j]!;
      return sum / tokens;
    });
  const hessian = cross((at) => x[at]!, x, cols);
  const input = cross((at) => x0[at]! - x[at]!, x, cols);
  const residual = cross((at) => moved[at]!, x, rows);

  /** The mean of |W x0 + β (h0 - h) - Ŵ x|² over tokens. */
  function objective(chosen: Float32Array, beta: number): number {
    let total = 0;
    for (let t = 0; t < tokens; t++) {
      for (let r = 0; r < rows; r++) {
        let miss = beta * moved[t * rows + r]!;
        for (let c = 0; c < cols; c++) {
          miss += w[r * cols + c]! * x0[t * cols + c]! - chosen[r * cols + c]! * x[t * cols + c]!;
        }
        total += miss ** 2 / tokens;
      }
    }
    return total;
  }

  it.each([
    [0, undefined],
    [share, residual],
  ] as const)('with β = %f miss those of the unquantized model by less, and no change of a weight helps', (beta, e) => {
    const factor = factorOf(hessian, { damp: 1e-5 });
    const targets = correctedTargets(kernels, w, { input, ...(e && { residual: e }) }, factor);
    const least = objective(targets, beta);
    expect(least).toBeLessThan(0.7 * objective(w, beta));
    for (let i = 0; i < w.length; i += 97) {
      for (const step of [-0.01, 0.01]) {
        const other = targets.slice();
        other[i]! += step;
        expect(objective(other, beta)).toBeGreaterThan(least);
      }
    }
  });
});
