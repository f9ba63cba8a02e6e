import { describe, expect, it } from 'vitest';
import { NumericError } from '../errors.ts';
import { type Kernels, loadKernels } from '../kernels/kernels.ts';
import { errorSums, expNegative, klRow, softmaxRow } from '../kernels/ref/divergence.ref.ts';
import { Random } from '../numeric/random.ts';
import { type PairScore, PairScorer } from './divergence.ts';

const gaussians = (seed: number, n: number, deviation = 1): Float32Array => {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => random.gaussian() * deviation);
};
const plus = (x: Float32Array, y: Float32Array): Float32Array => x.map((v, i) => v + y[i]!);

function scores(kernels: Kernels, vocab: number, x: Float32Array, y: Float32Array, targets: Int32Array): PairScore[] {
  const all: PairScore[] = [];
  kernels.reset();
  new PairScorer(kernels, vocab).score(x, y, targets, (score) => all.push(score));
  return all;
}

/** f64 throughout; sum of p (u + e^-u - 1) by expm1. */
function exactKl(x: Float32Array, y: Float32Array): number {
  const logs = (v: Float32Array): number[] => {
    const max = Math.max(...v);
    const z = max + Math.log(v.reduce((sum, a) => sum + Math.exp(a - max), 0));
    return Array.from(v, (a) => a - z);
  };
  const [p, q] = [logs(x), logs(y)];
  return p.reduce((sum, a, i) => sum + Math.exp(a) * (a - q[i]! + Math.expm1(q[i]! - a)), 0);
}

describe('exp of the kernels', () => {
  it('is within 1 ulp of f64 over the whole range', () => {
    let worst = 0;
    for (let x = 0; x > -87; x -= 0.00137) {
      const exact = Math.exp(Math.fround(x));
      const ulp = 2 ** (Math.floor(Math.log2(exact)) - 23);
      worst = Math.max(worst, Math.abs(expNegative(Math.fround(x)) - exact) / ulp);
    }
    expect(worst).toBeLessThan(1);
    expect([expNegative(0), expNegative(-87.5), expNegative(-Infinity), expNegative(NaN)]).toEqual([1, 0, 0, NaN]);
  });
});

describe('pairs of logits', () => {
  it.each([5, 8, 2047, 2048])('equals the reference bit by bit at a vocabulary of %i', async (vocab) => {
    const kernels = await loadKernels();
    const rows = 70;
    const x = gaussians(1, rows * vocab, 4);
    const y = plus(x, gaussians(2, rows * vocab, 0.3));
    const targets = Int32Array.from({ length: rows }, (_, i) => (i * 7) % vocab);
    const got = scores(kernels, vocab, x, y, targets);
    expect(got).toHaveLength(rows);
    for (const [r, score] of got.entries()) {
      const [a, b] = [x, y].map((v) => v.subarray(r * vocab, (r + 1) * vocab)) as [Float32Array, Float32Array];
      const [sa, sb] = [softmaxRow(a), softmaxRow(b)];
      const [la, lb] = [sa.max + Math.log(sa.sum), sb.max + Math.log(sb.sum)];
      expect(score).toEqual({
        referenceNll: la - a[targets[r]!]!,
        nll: lb - b[targets[r]!]!,
        kl: klRow(a, b, la - lb),
        sameTop: sa.argmax === sb.argmax,
      });
    }
  });

  it.each([1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 5])(
    'is accurate to 3e-6 relative and 1e-12 nats where logits differ by %f',
    async (deviation) => {
      const kernels = await loadKernels();
      const vocab = 2048;
      const x = gaussians(3, vocab, 4);
      // A common offset moves no probability.
      const y = plus(x, gaussians(4, vocab, deviation)).map((v) => v + 8);
      const exact = exactKl(x, y);
      const [{ kl }] = scores(kernels, vocab, x, y, Int32Array.of(0)) as [PairScore];
      expect(Math.abs(kl - exact)).toBeLessThan(3e-6 * exact + 1e-12);
    },
  );

  it('gives the figures of two coins', async () => {
    const kernels = await loadKernels();
    const x = Float32Array.of(Math.log(3), 0);
    const y = Float32Array.of(0, 0);
    const [score] = scores(kernels, 2, x, y, Int32Array.of(1)) as [PairScore];
    expect(score.kl).toBeCloseTo(0.75 * Math.log(1.5) + 0.25 * Math.log(0.5), 7);
    expect(score.referenceNll).toBeCloseTo(Math.log(4), 7);
    expect(score.nll).toBeCloseTo(Math.log(2), 7);
    expect(score.sameTop).toBe(true);
  });

  it('is exactly 0 for equal logits and names what is not finite', async () => {
    const kernels = await loadKernels();
    const x = gaussians(5, 300, 10);
    expect(scores(kernels, 300, x, x, Int32Array.of(7))[0]!.kl).toBe(0);
    const bad = x.slice();
    bad[200] = NaN;
    expect(() => scores(kernels, 300, x, bad, Int32Array.of(7))).toThrow(NumericError);
    expect(() => scores(kernels, 300, x, bad, Int32Array.of(7))).toThrow(/model's logits are not finite/);
    expect(() => scores(kernels, 300, bad, x, Int32Array.of(7))).toThrow(/reference's logits are not finite/);
  });

  it('leaves tokens of probability 0 out', async () => {
    const kernels = await loadKernels();
    const x = Float32Array.of(1, 1, -Infinity, -200, 0, 0);
    const y = Float32Array.of(1, 1, -Infinity, 1, 0, 0);
    const [score] = scores(kernels, 6, x, y, Int32Array.of(0)) as [PairScore];
    // q is p with a fourth part added: KL = ln(Zq / Zp).
    const z = 2 * Math.E + 2;
    expect(score.kl).toBeCloseTo(Math.log((z + Math.E) / z), 6);
  });
});

describe('compare', () => {
  it.each([0, 3, 4, 1027])('equals the reference bit by bit for %i values', async (n) => {
    const kernels = await loadKernels();
    const x = gaussians(6, n);
    const y = plus(x, gaussians(7, n, 0.05));
    const [xAt, yAt, out] = [kernels.alloc(n * 4), kernels.alloc(n * 4), kernels.alloc(40)];
    kernels.f32(xAt, n).set(x);
    kernels.f32(yAt, n).set(y);
    kernels.f64(out, 5).set([1, 2, 3, 4, 0]);
    kernels.call('compare', xAt, yAt, n, out);
    const [xx, yy, dd, xy, max] = errorSums(x, y);
    expect(Array.from(kernels.f64(out, 5))).toEqual([1 + xx!, 2 + yy!, 3 + dd!, 4 + xy!, max]);
  });
});
