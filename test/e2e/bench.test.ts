/** `fewbits bench` through the command line: one document, finite figures, and a reason wherever measured and predicted are apart. */
import { expect, test } from 'vitest';
import { fewbits, json, refuse } from './cli.ts';

interface Run {
  kernel: string;
  phase: string;
  batch: number;
  tokens: number;
  tokensPerSecond: number;
  productSeconds: number;
  seconds: { typical: number; runs: number };
  predicted: { tokensPerSecond: number; seconds: number; overheadSeconds: number; bytes: number; roofline: { seconds: number } };
  ratio: number;
  reasons: { code: string; text: string }[];
}

interface Document {
  machine: { name: string; measured: boolean; rates: { fp32: number; int8: number }; bandwidth: number; threads: number };
  runs: Run[];
  operators: object[];
  quantization: { type: string; quantize: number }[];
  warnings: string[];
}

const small = ['--prompt-tokens', '16', '--tokens', '8', '--runs', '2', '--no-operators', '--threads', '2'];

test('bench default: every kernel, phase and batch, beside its prediction', async () => {
  const document = await json<Document>('bench', 'default', ...small, '--batch', '1,2');
  const { machine, runs, operators, quantization, warnings } = document;
  expect(machine).toMatchObject({ name: 'this-machine', measured: true, threads: 2 });
  expect(machine.bandwidth).toBeGreaterThan(1e8);
  expect(Array.isArray(warnings)).toBe(true);
  expect(operators).toEqual([]);
  expect(quantization.length).toBeGreaterThan(3);

  const kernels = ['f32', 'int8', 'int8-token', 'int4', 'int4-int8'];
  const wanted = kernels.flatMap((kernel) =>
    [1, 2].flatMap((batch) => ['prefill', 'decode'].map((phase) => `${kernel} ${batch} ${phase}`)),
  );
  expect(runs.map(({ kernel, batch, phase }) => `${kernel} ${batch} ${phase}`)).toEqual(wanted);
  for (const run of runs) {
    const name = `${run.kernel} ${run.phase} ${run.batch}`;
    const computed = run.phase === 'prefill' ? 16 * run.batch : run.batch;
    expect(run.tokensPerSecond, name).toBeCloseTo(computed / run.seconds.typical, 6);
    expect(run.seconds.runs, name).toBe(run.phase === 'prefill' ? 2 : 16);
    expect(run.predicted.seconds, name).toBeCloseTo(run.predicted.roofline.seconds + run.predicted.overheadSeconds, 12);
    expect(run.ratio, name).toBeCloseTo(run.tokensPerSecond / run.predicted.tokensPerSecond, 9);
    expect(run.ratio, name).toBeGreaterThan(0);
    // Nothing is far faster than what was just probed, whatever else the machine does.
    expect(run.ratio, name).toBeLessThan(20);
    expect(run.productSeconds, name).toBeGreaterThan(0);
    if (run.ratio > 2 || run.ratio < 0.5) expect(run.reasons.length, name).toBeGreaterThan(0);
  }
  const bytes = (kernel: string) => runs.find((run) => run.kernel === kernel && run.phase === 'decode')!.predicted.bytes;
  expect(bytes('f32') / bytes('int8')).toBeGreaterThan(3.5);
  expect(bytes('f32') / bytes('int4')).toBeGreaterThan(5.5);
});

test('tables for people, progress on stderr', async () => {
  const args = ['bench', 'default', ...small, '--kernels', 'int8', '--batch', '1', '--no-quantization'];
  const { code, stdout, stderr } = await fewbits(args);
  expect({ code }, stderr).toEqual({ code: 0 });
  expect(stdout).toMatch(/decode +int8 +1 /);
  expect(stdout).toContain('predicted: the roofline');
  expect(stderr).toMatch(/^probing the machine/);
});

test('the roofline of this machine', async () => {
  const { machine } = await json<Document>('hardware', 'roofline', 'default', '--machine', 'measured', '--threads', '1');
  expect(machine).toMatchObject({ name: 'this-machine', measured: true });
});

test.each([
  [['--batch', '0'], 'at least 1'],
  [['--batch', '1,two'], 'whole number'],
  [['--kernels', 'int3'], 'int8-token'],
  [['--block', '24'], 'power of two'],
  [['--tokens', '4000'], '--prompt-tokens'],
])('%j is refused', async (flags, says) => {
  expect(await refuse(['bench', 'default', ...flags])).toContain(says);
});
