/** The same command writes the same bytes, whatever the number of workers. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { hashes, json, listing, project, readJson, sha256, temporaryFolder } from './cli.ts';

interface Report {
  output: string;
  seconds: number;
  peakMemory: number;
  tensors: { name: string; sqnr?: number | null; cosine?: number; maxError?: number }[];
}

const folder = temporaryFolder();
const model = project('models/tinystories-3.7m');
const cases = [
  { name: 'q4_k_m.gguf', options: ['--type', 'q4_k_m'] },
  { name: 'f16.gguf', options: ['--type', 'f16'] },
  { name: 'int4-g64', options: ['--bits', '4', '--group', '64', '--to', 'fewbits'] },
  { name: 'int3-row-asymmetric.safetensors', options: ['--bits', '3', '--group', '-1', '--asymmetric'] },
];
const threads = [1, 2, 4];
const place = (name: string, n: number) => join(folder, `${n}`, name);

beforeAll(async () => {
  for (const { name, options } of cases)
    for (const n of threads) await json('quantize', model, '-o', place(name, n), '--threads', `${n}`, ...options);
});

/** What of a report depends on the machine and the moment. */
function lasting({ output: _, seconds: __, peakMemory: ___, ...rest }: Report): object {
  return rest;
}

describe.each(cases)('$name', ({ name }) => {
  const isFile = name.includes('.');
  const bytesOf = (n: number) => (isFile ? sha256(readFileSync(place(name, n))) : hashes(place(name, n), ['report.json']));
  const reportOf = (n: number) =>
    readJson<Report>(isFile ? `${place(name, n)}.report.json` : join(place(name, n), 'report.json'));

  test.each([2, 4])('%i workers write the bytes of one', (n) => {
    expect(bytesOf(n)).toEqual(bytesOf(1));
  });

  test.each([2, 4])('%i workers report what one does, errors to the last bit', (n) => {
    expect(lasting(reportOf(n))).toEqual(lasting(reportOf(1)));
  });

  test('the report says what the run measured', () => {
    const report = reportOf(1);
    expect(report.seconds).toBeGreaterThan(0);
    expect(report.peakMemory).toBeGreaterThan(20e6);
    expect(report.peakMemory).toBeLessThan(400e6);
    for (const { sqnr, cosine, maxError } of report.tensors) {
      // Nothing was lost: the ratio has no finite value.
      if (maxError === 0) expect(sqnr).toBeNull();
      else expect(sqnr).toBeGreaterThan(3);
      expect(cosine).toBeGreaterThan(0.9);
      expect(cosine).toBeLessThanOrEqual(1 + 2 ** -50);
    }
  });
});

test('nothing lies in the folder but outputs and their reports', () => {
  const inFolder = ['README.md', 'config.json', 'generation_config.json', 'model.safetensors', 'recipe.json', 'report.json'];
  const sidecars = ['special_tokens_map.json', 'tokenizer.json', 'tokenizer_config.json'];
  expect(listing(join(folder, '2'))).toEqual(
    [
      ...['f16.gguf', 'q4_k_m.gguf', 'int3-row-asymmetric.safetensors'].flatMap((name) => [name, `${name}.report.json`]),
      ...[...inFolder, ...sidecars].map((name) => join('int4-g64', name)),
    ].sort(),
  );
});

test('neither path nor time is in the bytes: another folder, later, gives the same', async () => {
  const out = join(folder, 'elsewhere', 'deep', 'q4_k_m.gguf');
  await json('quantize', 'default', '-o', out, '--type', 'q4_k_m');
  expect(sha256(readFileSync(out))).toBe(sha256(readFileSync(place('q4_k_m.gguf', 1))));
});
