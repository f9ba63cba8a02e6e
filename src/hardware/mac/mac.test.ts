import { describe, expect, test } from 'vitest';
import { floatTypes, Random } from '../../numeric/index.ts';
import { affineTerms } from '../../quantize/affine-product.ts';
import {
  accumulatorWidths,
  codeRange,
  convolutionLayer,
  countCycles,
  type Dataflow,
  fixedPointOf,
  type IntegerArithmetic,
  type IntegerCodes,
  type MacArray,
  type MacLayer,
  macCycles,
  multiplyByFixedPoint,
  neededBits,
  requantize,
  runMacArray,
} from './index.ts';

const flows: Dataflow[] = ['weight', 'output'];
const int8: IntegerCodes = { bits: 8, signed: true };
const uint8: IntegerCodes = { bits: 8, signed: false };
const integers = (accumulatorBits = 32, weights = int8, inputs = uint8): IntegerArithmetic => ({
  kind: 'integer',
  weights,
  inputs,
  accumulatorBits,
  overflow: 'wrap',
});

function draw(random: Random, count: number, codes: IntegerCodes): Int32Array {
  const [least, most] = codeRange(codes);
  return Int32Array.from({ length: count }, () => least + random.integer(most - least + 1));
}

function randomLayer(random: Random, weights: IntegerCodes, inputs: IntegerCodes): MacLayer {
  const [out, width, tokens] = [1 + random.integer(12), 1 + random.integer(24), 1 + random.integer(5)];
  return {
    out,
    in: width,
    tokens,
    weights: draw(random, out * width, weights),
    inputs: draw(random, tokens * width, inputs),
    bias: Int32Array.from({ length: out }, () => random.integer(200_001) - 100_000),
    weightZero: draw(random, out, weights),
    inputZero: draw(random, 1, inputs)[0]!,
  };
}

/** Σ (x - z_x)(w - z_o) + b in integers of any size, [tokens, out]. */
function direct({ out, in: n, tokens, weights, inputs, bias, weightZero, inputZero = 0 }: MacLayer): bigint[] {
  return Array.from({ length: tokens * out }, (_, at) => {
    const [t, o] = [Math.floor(at / out), at % out];
    let sum = BigInt(bias?.[o] ?? 0);
    for (let i = 0; i < n; i++)
      sum += BigInt(inputs[t * n + i]! - inputZero) * BigInt(weights[o * n + i]! - (weightZero?.[o] ?? 0));
    return sum;
  });
}

const exact = (values: Float64Array) => Array.from(values, (value) => BigInt(value));

test('1,000 random layers with biases and zero points equal the direct product, in every schedule', () => {
  const random = new Random(6);
  const kinds = [int8, uint8, { bits: 4, signed: true }, { bits: 2, signed: false }];
  for (let n = 0; n < 1000; n++) {
    const [w, x] = [kinds[random.integer(4)]!, kinds[random.integer(4)]!];
    const layer = randomLayer(random, w, x);
    const array: MacArray = {
      rows: 1 + random.integer(6),
      cols: 1 + random.integer(6),
      dataflow: flows[random.integer(2)]!,
      doubleBuffered: random.integer(2) === 1,
      arithmetic: integers(32, w, x),
    };
    const run = runMacArray(layer, array);
    expect(exact(run.output)).toEqual(direct(layer));
    expect(run.overflows).toBe(0);
    const { all, utilization, ...byKind } = countCycles(layer, array);
    expect(run.cyclesByKind).toEqual(byKind);
    expect(run.cycles).toBe(all);
    expect(run.utilization).toBe(utilization);
  }
});

test('the smallest safe accumulator holds everything that can come, and a bit less does not', () => {
  const random = new Random(7);
  for (let n = 0; n < 200; n++) {
    const layer = randomLayer(random, int8, uint8);
    const { weights, data, worstCase } = accumulatorWidths(layer, integers(), runMacArray(layer, arrayOf(4, 4, 'output')));
    expect(data!).toBeLessThanOrEqual(weights);
    expect(weights).toBeLessThanOrEqual(worstCase);
    // The worst input of each output and direction: 255 where the weight pushes there, else 0.
    const worst = Array.from({ length: 2 * layer.out }, (_, row) => {
      const up = row % 2 === 0;
      const o = row >> 1;
      return Array.from({ length: layer.in }, (_, i) => (layer.weights[o * layer.in + i]! > 0 === up ? 255 : 0));
    }).flat();
    const adversary = { ...layer, tokens: 2 * layer.out, inputs: Int32Array.from(worst) };
    const overflows = (bits: number) =>
      runMacArray(adversary, { ...arrayOf(4, 4, 'output'), arithmetic: integers(bits) }).overflows;
    expect(overflows(weights)).toBe(0);
    expect(overflows(weights - 1)).toBeGreaterThan(0);
  }
});

function arrayOf(rows: number, cols: number, dataflow: Dataflow): MacArray {
  return { rows, cols, dataflow, arithmetic: integers() };
}

describe('accumulators', () => {
  const layer = (n: number, weight: number, input: number): MacLayer => ({
    out: 1,
    in: n,
    tokens: 1,
    weights: new Array<number>(n).fill(weight),
    inputs: new Array<number>(n).fill(input),
  });
  const codes = { weights: int8, inputs: int8 };

  test('int8 x int8 over n inputs needs 16 + log2 n bits', () => {
    expect(neededBits(-128, 127)).toBe(8);
    expect(neededBits(-129, 0)).toBe(9);
    expect(neededBits(0, 0)).toBe(1);
    // n x (-128)^2 = 2^(14 + log2 n) is one more than the largest number of 15 + log2 n bits.
    expect(accumulatorWidths(layer(1, 0, 0), codes).worstCase).toBe(16);
    expect(accumulatorWidths(layer(1024, 0, 0), codes).worstCase).toBe(26);
    expect(accumulatorWidths(layer(131071, 0, 0), codes).worstCase).toBe(32);
    expect(accumulatorWidths(layer(131072, 0, 0), codes).worstCase).toBe(33);
  });

  test('16 bits overflow: wrapped or saturated, and a wrapped sum that comes back is right', () => {
    const array = (overflow: 'wrap' | 'saturate'): MacArray => ({
      ...arrayOf(1, 1, 'output'),
      arithmetic: { ...integers(16, int8, int8), overflow },
    });
    const up = layer(3, 127, 127);
    expect(runMacArray(up, array('wrap'))).toMatchObject({ output: Float64Array.of(48387 - 65536), overflows: 1 });
    expect(runMacArray(up, array('saturate'))).toMatchObject({ output: Float64Array.of(32767), overflows: 1 });
    const back: MacLayer = { ...up, in: 6, weights: [127, 127, 127, -127, -127, -127], inputs: new Array(6).fill(127) };
    expect(runMacArray(back, array('wrap')).output).toEqual(Float64Array.of(0));
    expect(runMacArray(back, array('saturate')).output).toEqual(Float64Array.of(32767 - 48387));
  });

  test('start with the bias and the terms of zero points that know nothing of the input', () => {
    const weights = Int8Array.of(3, -4, 5, 6);
    const x = { codes: [7, 9], scale: 1, zero: 2 };
    const w = { codes: weights, scale: Float32Array.of(1, 1), zero: [1, -1] };
    const terms = affineTerms(x, w);
    const affine: MacLayer = {
      out: 2,
      in: 2,
      tokens: 1,
      weights,
      inputs: x.codes,
      bias: [10, 20],
      weightZero: w.zero,
      inputZero: 2,
    };
    const [first] = macCycles({ ...affine }, { ...arrayOf(2, 1, 'weight') });
    expect(first).toMatchObject({ kind: 'load', cycle: 0 });
    const { output, range } = runMacArray(affine, arrayOf(2, 2, 'output'));
    const whole = (o: number) => terms.products[o]! + terms.inputs[o]! + terms.weights[o]! + terms.zeros[o]!;
    expect(Array.from(output)).toEqual([10 + whole(0), 20 + whole(1)]);
    const loaded = [0, 1].map((o) => [10, 20][o]! + terms.weights[o]! + terms.zeros[o]!);
    expect(range).toEqual([Math.min(...loaded), Math.max(...loaded.map((sum, o) => sum + terms.products[o]!), ...loaded)]);
  });
});

describe('schedules', () => {
  const layer: MacLayer = {
    out: 4,
    in: 4,
    tokens: 3,
    weights: Array.from({ length: 16 }, (_, i) => i - 8),
    inputs: Array.from({ length: 12 }, (_, i) => i),
  };

  test('output-stationary: two cycles a token and a drain, the sum of a token at a time', () => {
    const cycles = [...macCycles(layer, arrayOf(4, 2, 'output'))];
    expect(cycles.map(({ kind }) => kind).join(' ')).toBe(
      'multiply multiply drain multiply multiply drain multiply multiply drain',
    );
    // W rows -8 -7 -6 -5 | -4 -3 -2 -1 | 0 1 2 3 | 4 5 6 7, x = 0 1 2 3.
    expect(cycles[0]!.products).toEqual(Float64Array.of(0, -7, 0, -3, 0, 1, 0, 5));
    expect(cycles[0]!.accumulators).toEqual(Float64Array.of(-7, -3, 1, 5));
    expect(cycles[1]!.accumulators).toEqual(Float64Array.of(-34, -10, 14, 38));
  });

  test('weight-stationary: a tile is loaded row by row, then all tokens pass', () => {
    const array = arrayOf(4, 2, 'weight');
    const run = runMacArray(layer, array);
    expect(run.cyclesByKind).toEqual({ load: 8, multiply: 6, drain: 3 });
    expect(run.utilization).toBe(48 / (17 * 8));
    expect(runMacArray(layer, { ...array, doubleBuffered: true }).cyclesByKind).toEqual({ load: 5, multiply: 6, drain: 3 });
    expect(exact(run.output)).toEqual(direct(layer));
  });

  test('many tokens fill a weight-stationary array, one token does not', () => {
    const shape = { out: 128, in: 128 };
    const array = { ...arrayOf(16, 16, 'weight'), doubleBuffered: true };
    expect(countCycles({ ...shape, tokens: 512 }, array).utilization).toBeGreaterThan(0.98);
    expect(countCycles({ ...shape, tokens: 1 }, array).utilization).toBeLessThan(0.07);
    expect(countCycles({ ...shape, tokens: 1 }, { ...array, dataflow: 'output' }).utilization).toBeGreaterThan(0.98);
    expect(countCycles({ out: 17, in: 16, tokens: 64 }, { ...array, dataflow: 'output' }).utilization).toBeCloseTo(0.53, 2);
  });
});

describe('floating point', () => {
  test.each(['f32', 'f16', 'bf16'] as const)('every product and sum is rounded to %s, block by block', (accumulator) => {
    const random = new Random(8);
    const { round } = floatTypes[accumulator];
    const f16 = floatTypes.f16.round;
    const values = (count: number) => Float64Array.from({ length: count }, () => f16(random.gaussian()));
    const layer: MacLayer = { out: 5, in: 23, tokens: 3, weights: values(115), inputs: values(69), bias: values(5) };
    const operands = accumulator === 'bf16' ? ('f32' as const) : ('f16' as const);
    const array: MacArray = { rows: 2, cols: 4, dataflow: 'weight', arithmetic: { kind: 'float', operands, accumulator } };
    const expected = Float64Array.from({ length: 15 }, (_, at) => {
      const [t, o] = [Math.floor(at / 5), at % 5];
      let sum = round(layer.bias![o]!);
      for (let from = 0; from < 23; from += 4) {
        let block = round(layer.weights[o * 23 + from]! * layer.inputs[t * 23 + from]!);
        for (let i = from + 1; i < Math.min(23, from + 4); i++)
          block = round(block + round(layer.weights[o * 23 + i]! * layer.inputs[t * 23 + i]!));
        sum = round(sum + block);
      }
      return sum;
    });
    expect(runMacArray(layer, array).output).toEqual(expected);
    expect(runMacArray(layer, { ...array, dataflow: 'output' }).output).toEqual(expected);
  });
});

describe('convolution by im2col', () => {
  test.each([
    { stride: 1, padding: 1, dilation: 1 },
    { stride: 2, padding: 0, dilation: 1 },
    { stride: 1, padding: 2, dilation: 2 },
  ])('equals the convolution written out: %o', (form) => {
    const random = new Random(9);
    const shape = { channels: 3, height: 7, width: 6, out: 4, kernel: [3, 2] as const, ...form };
    const [image, weights] = [draw(random, 3 * 42, uint8), draw(random, 4 * 18, int8)];
    const inputZero = 11;
    const layer = convolutionLayer(image, weights, shape, { inputZero, bias: [1, -2, 3, -4] });
    const { output } = runMacArray(layer, arrayOf(3, 5, 'weight'));
    const { stride, padding, dilation } = form;
    const [rows, cols] = [
      Math.floor((7 + 2 * padding - dilation * 2 - 1) / stride) + 1,
      Math.floor((6 + 2 * padding - dilation - 1) / stride) + 1,
    ];
    expect(layer.tokens).toBe(rows * cols);
    for (let o = 0; o < 4; o++)
      for (let y = 0; y < rows; y++)
        for (let x = 0; x < cols; x++) {
          let sum = [1, -2, 3, -4][o]!;
          for (let c = 0; c < 3; c++)
            for (let ky = 0; ky < 3; ky++)
              for (let kx = 0; kx < 2; kx++) {
                const [r, s] = [y * stride + ky * dilation - padding, x * stride + kx * dilation - padding];
                // Padding is 0, not code 0.
                if (r < 0 || r >= 7 || s < 0 || s >= 6) continue;
                sum += (image[(c * 7 + r) * 6 + s]! - inputZero) * weights[((o * 3 + c) * 3 + ky) * 2 + kx]!;
              }
          expect(output[(y * cols + x) * 4 + o]).toBe(sum);
        }
  });
});

describe('requantization', () => {
  test("factors as TFLite's quantization_util_test has them", () => {
    expect(fixedPointOf(0.25)).toEqual({ multiplier: 1073741824, shift: -1 });
    expect(fixedPointOf(0.2)).toEqual({ multiplier: 1717986918, shift: -2 });
    expect(fixedPointOf(0.1)).toEqual({ multiplier: 1717986918, shift: -3 });
    expect(fixedPointOf(1.25)).toEqual({ multiplier: 1342177280, shift: 1 });
    expect(fixedPointOf(1.125)).toEqual({ multiplier: 1207959552, shift: 1 });
    expect(fixedPointOf(2)).toEqual({ multiplier: 1073741824, shift: 2 });
    expect(fixedPointOf(4)).toEqual({ multiplier: 1073741824, shift: 3 });
  });

  test('the fixed-point product is within one of the exact one, and the same where no half is in play', () => {
    const random = new Random(10);
    let different = 0;
    for (let n = 0; n < 20_000; n++) {
      const factor = 2 ** (-12 * random.uniform()) * 0.9;
      const sum = random.integer(2 ** 31) - 2 ** 30;
      const fixed = multiplyByFixedPoint(sum, fixedPointOf(factor));
      const real = sum * factor;
      expect(Math.abs(fixed - real)).toBeLessThan(1.01);
      if (fixed !== Math.round(real)) different++;
    }
    expect(different).toBeLessThan(20_000 * 0.2);
  });

  test('gemmlowp rounds halves up in the product, away from zero in the power of two', () => {
    const half = fixedPointOf(0.5);
    expect([3, 2, 1, -1, -2, -3].map((sum) => multiplyByFixedPoint(sum, half))).toEqual([2, 1, 1, 0, -1, -1]);
    const quarter = fixedPointOf(0.25);
    expect([2, 6, -2, -6].map((sum) => multiplyByFixedPoint(sum, quarter))).toEqual([1, 2, -1, -2]);
  });

  test('sums become codes: factor, zero point, clamp', () => {
    const sums = Float64Array.of(1000, -1000, 50, 30000);
    const form = { factor: [0.01, 0.02], zero: -5, codes: int8 };
    expect(requantize(sums, 2, { ...form, arithmetic: 'float' })).toEqual(Int32Array.of(5, -25, -5, 127));
    expect(requantize(sums, 2, { ...form, arithmetic: 'fixed' })).toEqual(Int32Array.of(5, -25, -4, 127));
  });
});

test('what does not belong together is refused', () => {
  const layer: MacLayer = { out: 1, in: 2, tokens: 1, weights: [1, 128], inputs: [1, 2] };
  expect(() => runMacArray(layer, arrayOf(1, 1, 'output'))).toThrow(/weights\[1\].*128/);
  expect(() => runMacArray({ ...layer, weights: [1] }, arrayOf(1, 1, 'output'))).toThrow(/weights/);
  expect(() => runMacArray({ ...layer, weights: [1, 0.5] }, arrayOf(1, 1, 'output'))).toThrow(/weights\[1\]/);
  const wide = { bits: 24, signed: true };
  const huge = { ...arrayOf(1, 1, 'output'), arithmetic: integers(52, wide, wide) };
  expect(() => runMacArray({ ...layer, weights: [1, 2], in: 2 }, huge)).not.toThrow();
  const long = { ...layer, in: 64, weights: new Array<number>(64).fill(1), inputs: new Array<number>(64).fill(1) };
  expect(() => runMacArray(long, huge)).toThrow(/doubles do not hold/);
});
