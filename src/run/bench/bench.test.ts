/** The parts of the bench on small shapes: what they give is checked, how fast it is only by what holds on any machine. */
import { describe, expect, test } from 'vitest';
import { defaultModel } from '#run/embedded';
import { open } from '../../format/index.ts';
import { decoderSize, machineNamed, roofline, storedBytes } from '../../hardware/index.ts';
import { modelTensors } from '../../model/index.ts';
import { emptySpec } from './decode.ts';
import {
  bandwidthAt,
  bench,
  benchOperators,
  benchQuantization,
  kernels,
  machineAt,
  type OperatorRow,
  operatorCases,
  probeMachine,
  timesOf,
} from './index.ts';
import { precisionOfKernel } from './kernels.ts';

test('times: best, a quarter, half', () => {
  expect(timesOf([5, 1, 4, 2, 3])).toEqual({ best: 1, typical: 2, median: 3, runs: 5 });
  expect(timesOf([4, 2])).toEqual({ best: 2, typical: 2.5, median: 3, runs: 2 });
  expect(timesOf([7])).toEqual({ best: 7, typical: 7, median: 7, runs: 1 });
});

test('bandwidth between sizes: seconds a byte over the logarithm of the size, flat outside', () => {
  const points = [
    { bytes: 1e6, bandwidth: 100e9 },
    { bytes: 1e8, bandwidth: 10e9 },
  ];
  expect(bandwidthAt(points, 1)).toBe(100e9);
  expect(bandwidthAt(points, 1e12)).toBe(10e9);
  expect(1 / bandwidthAt(points, 1e7)).toBeCloseTo((1 / 100e9 + 1 / 10e9) / 2, 18);
});

test('the probe makes a row of the machine table', async () => {
  const probe = await probeMachine({ threads: 1, seconds: 0.02, workingSets: [2e6, 4e6, 2e6, 1e12], title: 'here', memory: 8e9 });
  const { machine, bandwidths } = probe;
  expect(machine).toMatchObject({ name: 'this-machine', title: 'here', kind: 'cpu', memory: 8e9, measured: true });
  expect(machine.date).toMatch(/^20\d\d-\d\d$/);
  expect(bandwidths.map(({ bytes }) => bytes)).toEqual([2e6, 4e6, 2 ** 28]);
  expect(machine.bandwidth).toBe(bandwidths[2]!.bandwidth);
  expect(machineAt(probe, 2e6).bandwidth).toBe(bandwidths[0]!.bandwidth);
  for (const { bandwidth } of bandwidths) {
    expect(bandwidth).toBeGreaterThan(1e8);
    expect(bandwidth).toBeLessThan(1e13);
  }
  for (const rate of [machine.rates.fp32!, machine.rates.int8!]) {
    expect(rate).toBeGreaterThan(1e8);
    expect(rate).toBeLessThan(1e15);
  }
});

test('what the roofline counts of a kernel: matrices at its bits, the rest in f32', async () => {
  const model = await open(defaultModel);
  const spec = model.spec!;
  await model.close();
  const size = decoderSize(spec);
  const matrices = modelTensors(spec).filter(({ shape }) => shape.length === 2);
  const weights = matrices.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0);
  const outputs = matrices.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const norms = 4 * (size.parameters - weights);
  expect(storedBytes(size, precisionOfKernel(kernels.f32, spec))).toBe(4 * size.parameters);
  expect(storedBytes(size, precisionOfKernel(kernels.int8, spec))).toBe(weights + 4 * outputs + norms);
  expect(storedBytes(size, precisionOfKernel(kernels.int4, spec, 64))).toBe(weights / 2 + weights / 16 + norms);
});

test('the empty model has the same operators and next to no parameters', async () => {
  const model = await open(defaultModel);
  const spec = model.spec!;
  await model.close();
  const empty = emptySpec(spec);
  expect(modelTensors(empty).map(({ name }) => name)).toEqual(modelTensors(spec).map(({ name }) => name));
  expect(decoderSize(empty).parameters).toBeLessThan(decoderSize(spec).parameters / 100);
});

describe('single operators', () => {
  let rows: OperatorRow[];
  const here = machineNamed('raspberry-pi-5');

  test('every case has rows that say what was compared', async () => {
    rows = await benchOperators(here, { threads: 1, width: 256, far: 2 ** 20, rows: [2, 8], seconds: 0.005 });
    expect(new Set(rows.map((row) => row.case))).toEqual(new Set(Object.keys(operatorCases)));
    for (const row of rows) {
      expect(row.seconds, row.operator).toBeGreaterThan(0);
      expect(row.speedup).toBeCloseTo(row.baselineSeconds / row.seconds, 9);
      expect(row.holds).toBe(row.speedup > 1.15 === (row.expected === 'faster'));
      expect(row.why).toBe(row.holds ? operatorCases[row.case].why : operatorCases[row.case].otherwise);
      expect(row.predicted === true).toBe(row.case === 'accelerator');
    }
  });

  test('accelerators are predicted from their rows of the table', () => {
    const tpu = rows.find(({ operator }) => operator.includes('TPU v5e'))!;
    const work = { operations: 2 * 8 * 256 * 256, bytes: 256 * 256 };
    expect(tpu.seconds).toBe(roofline(work, machineNamed('tpu-v5e'), 'int8').seconds);
  });
});

test('quantization: every type in both directions', async () => {
  const rows = await benchQuantization({ seconds: 0.002 });
  expect(rows.map(({ type }) => type)).toEqual(['int4, groups of 128', 'int8, rows', 'q4_0', 'q8_0', 'q4_k', 'q6_k']);
  for (const row of rows) {
    expect(row.quantize, row.type).toBeGreaterThan(1e-3);
    expect(row.dequantize, row.type).toBeGreaterThan(1e-3);
  }
});

test('what cannot be measured is refused or left out with a warning', async () => {
  const model = await open(defaultModel);
  const small = { operators: false, quantization: false, tokens: 2, promptTokens: 2, runs: 1, batches: [1], threads: 1 };
  await expect(bench(model, { ...small, tokens: 600 })).rejects.toThrow(/do not fit the context/);
  const report = await bench(model, { ...small, kernels: ['f32', 'int8'], memory: 1e7 });
  expect(report.runs.map(({ kernel, phase }) => `${kernel} ${phase}`)).toEqual(['int8 prefill', 'int8 decode']);
  expect(report.warnings[0]).toContain('f32 is left out');
  await model.close();
});
