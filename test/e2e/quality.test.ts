/** What models lose, measured through the command line, against what llama.cpp and transformers measure on the same text. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { golden, json, project, readJson, temporaryFolder } from './cli.ts';

interface Row {
  name: string;
  nll: number;
  perplexity: number;
  klMean: number;
  klMedian: number;
  klP99: number;
  sameTop: number;
  tokens: number;
}
interface Measured {
  model: string;
  nll: number;
  perplexity: number;
  tokens: number;
  kl: { mean: number; median: number; p90: number; p99: number; max: number };
  sameTop: number;
  sameTopError: number;
}

const folder = temporaryFolder();
const valid = project('models/text/tinystories.valid.txt');

describe('perplexity of the default model on the first 60,000 bytes', () => {
  const text = join(folder, 'first.txt');
  beforeAll(() => writeFileSync(text, readFileSync(valid).subarray(0, 60_000)));

  // The figures are those of llama-perplexity (chunks of 256, second half scored) and of transformers (whole windows).
  test.each([
    ['llama.cpp', 7.592086017],
    ['strided', 8.331468703],
  ])('%s', async (protocol, perplexity) => {
    const result = await json<{ perplexity: number; nll: number; tokens: number }>(
      ...['evaluate', 'default', '--text', text, '--protocol', protocol, '--context', '256'],
    );
    expect(Math.abs(result.perplexity / perplexity - 1)).toBeLessThan(1e-4);
    expect(Math.exp(result.nll)).toBeCloseTo(result.perplexity, 9);
  });
});

describe('against the reference', () => {
  /** One of each kind: that the bytes of the others are llama.cpp's is tested where they are made. */
  const kinds = ['f16', 'Q8_0', 'Q4_0', 'Q4_0.imatrix', 'Q4_K_M', 'Q2_K', 'IQ4_XS'];
  const rows = readJson<{ rows: Row[] }>(golden('quality/peers.json'))
    .rows.filter(({ name }) => kinds.some((kind) => name === `llama.cpp:${kind}`))
    .map((row) => ({ ...row, type: row.name.slice('llama.cpp:'.length) }));
  /** llm-compressor's rounding to nearest, and W8A8 by tokens. */
  const integers = readJson<{ rows: Row[] }>(golden('quality/peers.json')).rows.flatMap((row) => {
    const [, bits, group, symmetry] = /^rtn-(\d)-(-?\d+)-(a?sym)$/.exec(row.name) ?? [];
    const grid = ['--bits', `${bits}`, '--group', `${group}`, `--${symmetry}metric`];
    const range = symmetry === 'sym' ? ['--range', 'absmax-half'] : [];
    const w8a8 = ['--bits', '8', '--group', '-1', '--range', 'absmax-half', '--activation-bits', '8'];
    if (row.name === 'w8a8') return [{ ...row, options: w8a8 }];
    return bits && ['rtn-8-64-sym', 'rtn-4-64-asym', 'rtn-3-64-sym'].includes(row.name)
      ? [{ ...row, options: [...grid, ...range] }]
      : [];
  });
  const measured = new Map<string, Measured>();

  beforeAll(async () => {
    const f16 = join(folder, 'f16.gguf');
    await json('quantize', 'default', '-o', f16, '--type', 'f16');
    const files: string[] = [];
    for (const { type } of rows) {
      const file = join(folder, `${type}.gguf`);
      const stats = type.endsWith('.imatrix') ? ['--stats', golden('gguf/tinystories-3.7m.imatrix.gguf')] : [];
      if (type !== 'f16') await json('quantize', f16, '-o', file, '--type', type.replace('.imatrix', ''), ...stats);
      files.push(file);
    }
    for (const { name, options } of integers) {
      // Scales of 16 bits that are f16: the peer's are f32 here, and bf16, what compressed-tensors would hold, shows at 8 bits.
      await json('quantize', 'default', '-o', join(folder, name), ...options, '--to', 'fewbits');
      files.push(join(folder, name));
    }
    const { models } = await json<{ models: Measured[] }>(
      ...['compare', 'default', ...files, '--text', valid, '--context', '256', '--protocol', 'strided'],
    );
    for (const [i, name] of [...rows.map(({ type }) => type), ...integers.map(({ name }) => name)].entries())
      measured.set(name, models[i]!);
  }, 600_000);

  /** Half a unit of the last of six printed decimals, and one percent. */
  const near = (value: number, expected: number) => expect(Math.abs(value - expected)).toBeLessThan(0.01 * expected + 5e-7);

  test('one row of each kind was found', () => expect(rows).toHaveLength(kinds.length));

  test.each(rows)('$type', ({ type, ...row }) => {
    const { kl, nll, perplexity, sameTop, tokens } = measured.get(type)!;
    expect(tokens).toBe(row.tokens);
    expect(Math.abs(perplexity / row.perplexity - 1)).toBeLessThan(1e-4);
    expect(Math.abs(nll - row.nll)).toBeLessThan(1e-4);
    near(kl.mean, Math.max(0, row.klMean));
    near(kl.median, Math.max(0, row.klMedian));
    near(kl.p99, row.klP99);
    expect(Math.abs(sameTop - row.sameTop)).toBeLessThan(5e-4);
  });

  test('rounding to nearest of llm-compressor, and W8A8', () => expect(integers).toHaveLength(4));

  test.each(integers)('$name', ({ name, ...row }) => {
    const { kl, perplexity, tokens } = measured.get(name)!;
    expect(tokens).toBe(row.tokens);
    expect(Math.abs(perplexity / row.perplexity - 1)).toBeLessThan(3e-3);
    near(kl.mean, row.klMean);
  });

  test('percentiles and error bars hang together', () => {
    for (const { kl, sameTop, sameTopError, tokens } of measured.values()) {
      expect(kl.median).toBeLessThanOrEqual(kl.p90);
      expect(kl.p90).toBeLessThanOrEqual(kl.p99);
      expect(kl.p99).toBeLessThanOrEqual(kl.max);
      expect(sameTopError).toBeCloseTo(Math.sqrt((sameTop * (1 - sameTop)) / tokens), 5);
    }
  });
});
