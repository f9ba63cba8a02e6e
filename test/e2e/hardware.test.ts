/** The calculators through the command line: the documents of the contract, with published figures. */
import { describe, expect, test } from 'vitest';
import { fewbits, json, refuse } from './cli.ts';

const GiB = 2 ** 30;

describe('memory', () => {
  test.each([
    ['7.0e9', '32', 28e9],
    ['7B', '4', 3.5e9],
    ['175B', '16', 350e9],
    ['70e9', '8', 70e9],
  ])('%s parameters at %s bits, weights alone', async (parameters, bits, bytes) => {
    const args = ['hardware', 'memory', '--parameters', parameters, '--bits', bits, '--scale-bits', '0'];
    expect(await json(...args)).toMatchObject({ weightBytes: bytes, kvBytes: 0, totalBytes: bytes, warnings: [] });
  });

  test('scales and zeros are counted, and a cache with its shape', async () => {
    const cache = ['--layers', '32', '--kv-heads', '32', '--head-dim', '128', '--tokens', '4096'];
    const document = await json('hardware', 'memory', '--parameters', '7e9', '--bits', '4', '--group', '128', ...cache);
    expect(document).toMatchObject({ weightBytes: 3_718_750_000, kvBytes: 2 * GiB, totalBytes: 3_718_750_000 + 2 * GiB });
  });

  test('a model is counted as it is stored', async () => {
    const document = await json<{ weightBytes: number; maxContext: number }>(
      ...['hardware', 'memory', 'default', '--tokens', '256', '--memory', '10MB'],
    );
    expect(document).toMatchObject({ weightBytes: 2 * 3_672_320, kvBytes: 256 * 2048, fits: true });
    expect(document.maxContext).toBe(Math.floor((10e6 - 2 * 3_672_320) / 2048));
  });
});

test('kv: 4096 tokens x 4096 x 32 layers at INT8 are 1 GiB', async () => {
  const shape = ['--layers', '32', '--kv-heads', '32', '--head-dim', '128', '--tokens', '4096'];
  expect(await json('hardware', 'kv', ...shape, '--bits', '8')).toMatchObject({ bytes: GiB, bytesPerToken: 262_144 });
});

test('mac: a product with a bias, the width of its accumulators, its cycles', async () => {
  const layer = ['--weights', '[[1,2],[3,4]]', '--inputs', '[[5,6]]', '--bias', '[10,20]', '--rows', '2', '--cols', '1'];
  const document = await json('hardware', 'mac', ...layer, '--trace');
  expect(document).toMatchObject({
    output: [[27, 59]],
    // 2 x 128^2 + 20 needs 17 bits; 20 + 3 x 127 + 4 x 127 needs 11.
    accumulatorBits: 17,
    accumulatorBitsForWeights: 11,
    cycles: 7,
    utilization: 4 / 14,
  });
  expect((document as { trace: object[] }).trace[5]).toMatchObject({
    kind: 'multiply',
    products: [12, 24],
    accumulators: [27, 59],
  });
  // 4 outputs at 6 x 6 places of 3 x 3 x 3 inputs.
  expect(await json('hardware', 'mac', '--convolution', '3x8x8x4x3')).toMatchObject({ macs: 4 * 36 * 27 });
});

test('energy and roofline', async () => {
  const { picojoules, byOperation } = await json<{ picojoules: number; byOperation: Record<string, number> }>(
    ...['hardware', 'energy', '--in', '1000', '--out', '1000', '--bits', '8', '--scale-bits', '0'],
  );
  expect(byOperation['multiply']).toBeCloseTo(0.2e6, 3);
  expect(byOperation['add']).toBeCloseTo(0.1e6, 3);
  expect(byOperation['dram']).toBeCloseTo((8e6 * 1300) / 64, 3);
  expect(Object.values(byOperation).reduce((a, b) => a + b)).toBeCloseTo(picojoules, 3);
  const given = ['--parameters', '7e9', '--bits', '16', '--bandwidth', '100GB', '--rate', '1e12'];
  const decode = await json<{ tokensPerSecond: number; bound: string }>('hardware', 'roofline', ...given);
  expect(decode.tokensPerSecond).toBeCloseTo(1e11 / 14e9, 9);
  expect(decode.bound).toBe('memory');
  expect(await json('hardware', 'roofline', ...given, '--phase', 'prefill')).toMatchObject({ bound: 'compute' });
});

test('tables for people, one line for what cannot be computed', async () => {
  const { code, stdout, stderr } = await fewbits(['hardware', 'roofline', '--parameters', '8B', '--machine', 'tpu-v5e']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain('decode');
  expect(stdout).toContain('cloud.google.com/tpu');
  expect(await refuse(['hardware', 'memory'])).toContain('--parameters 7e9');
  expect(await refuse(['hardware', 'abacus'])).toContain('memory, kv, mac, energy, roofline');
  expect(await refuse(['hardware', 'roofline', '--parameters', '8B', '--machine', 'abacus'])).toContain('ryzen-7950x');
});
