/** Files that calibration made: how other commands take them, runs that are killed, input that cannot be used. */
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { writeSafetensors } from '../../src/checkpoint/safetensors/index.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';
import {
  fewbits,
  golden,
  hashedTensors,
  hashes,
  json,
  listing,
  noise,
  readJson,
  refuse,
  start,
  succeed,
  temporaryFolder,
  writeBag,
} from './cli.ts';

interface Solve {
  linears: string[];
  retries: number;
  damp: number;
  fallback?: string;
}
interface Report {
  resumed: number;
  warnings: string[];
  solves: Solve[];
  calibration: { text: { name: string; sha256: string } };
  tensors: { source: string; scheme: string; feedback?: string; sqnr: number }[];
}

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const few = ['--samples', '4', '--context', '64'];
const stats = at('stats.safetensors');
const gptq = ['--method', 'gptq'];
const text = at('text.txt');

beforeAll(async () => {
  writeFileSync(text, 'Once upon a time there was a little dog who liked to run in the garden with his friend. '.repeat(40));
  await json('calibrate', 'default', '-o', stats, ...few);
});

describe('outputs', () => {
  const outputs = [
    { name: 'gptq', options: ['--to', 'gptq'] },
    { name: 'gptq-act-order', options: ['--to', 'gptq', '--act-order'] },
    { name: 'compressed-tensors', options: ['--to', 'compressed-tensors', '--asymmetric', '--group', '64'] },
    { name: 'fewbits', options: ['--to', 'fewbits'] },
    { name: 'fewbits-act-order', options: ['--to', 'fewbits', '--act-order', '--bits', '3'] },
    { name: 'q4_k_m.gguf', options: ['--type', 'q4_k_m'] },
  ];
  beforeAll(async () => {
    for (const { name, options } of outputs)
      await json('quantize', 'default', '-o', at(name), ...gptq, ...options, '--stats', stats);
  }, 300_000);

  test.each(outputs)('verify $name --against its source', async ({ name }) => {
    const found = await json<{ ok: boolean; problems: string[]; tensors: { sqnr: number | null }[] }>(
      ...['verify', at(name), '--against', 'default'],
    );
    expect(found).toMatchObject({ ok: true, problems: [] });
    for (const { sqnr } of found.tensors) if (sqnr !== null) expect(sqnr).toBeGreaterThan(7);
  });

  test('the report names the statistics, and a plan those of another model', async () => {
    const report = readJson<{ statistics: object }>(at('q4_k_m.gguf.report.json'));
    expect(report.statistics).toMatchObject({
      name: 'stats.safetensors',
      fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/),
      text: { name: 'tinystories.train.txt', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
      samples: 4,
      context: 64,
      tokens: 256,
    });
    const other = ['plan', at('q4_k_m.gguf'), '--type', 'q4_0', ...gptq, '--requantize', '--stats', stats];
    const { warnings } = await json<Report>(...other);
    expect(warnings).toEqual([expect.stringMatching(/stats\.safetensors: the statistics were made from another model/)]);
    expect((await json<Report>('plan', 'default', '--type', 'q4_0', ...gptq, '--stats', stats)).warnings).toEqual([]);
  });

  test('a plan says what GPTQ rounds, and how', async () => {
    const command = ['plan', 'default', '--type', 'q4_k_m', '--keep', '*layers.0*', ...gptq];
    const text = await succeed(...command, '--stats', stats);
    expect(text).toMatch(/blk\.1\.attn_q\.weight +q4_k gptq /);
    expect(text).toMatch(/blk\.0\.attn_q\.weight +bf16 /);
    expect(text).toContain('rounding: GPTQ of 22 tensors, damp 0.01, 2 rounds of refinement, statistics from ');
    expect(text).toMatch(/convention: ggml block types as llama\.cpp reads them; .*codes by GPTQ/);
    expect(text).not.toContain('encoded as llama.cpp does');
    expect(await succeed(...command)).toMatch(/refinement, calibrated on tinystories\.train\.txt\n/);
    expect(await succeed('plan', 'default', '--type', 'q4_0')).not.toMatch(/GPTQ|gptq/);
    const { warnings, tensors } = await json<Report>('plan', 'default', '--type', 'f16', ...gptq);
    expect(warnings).toEqual(['nothing is rounded by GPTQ here: no quantized matrix takes it']);
    expect(tensors.filter(({ feedback }) => feedback)).toEqual([]);
  });

  test('after GPTQ the table of errors says what it does not show', async () => {
    const command = ['quantize', 'default', '-o', at('said.gguf'), '--type', 'q4_0', '--layers', '0-0', '--force', '--quiet'];
    expect(await succeed(...command, ...gptq, '--stats', stats)).toMatch(/q4_0 gptq .*These are errors of weights\. GPTQ/s);
    expect(await succeed(...command)).not.toContain('GPTQ');
  });

  test('compare runs them all, and evaluate and generate those in activation order', async () => {
    const { models } = await json<{ models: { perplexity: number; kl: { mean: number } }[] }>(
      ...['compare', 'default', ...outputs.map(({ name }) => at(name)), '--text', text, '--context', '64'],
    );
    for (const [i, { kl }] of models.entries()) expect(kl.mean, outputs[i]!.name).toBeLessThan(0.3);
    const { perplexity } = await json<{ perplexity: number }>(
      ...['evaluate', at('gptq-act-order'), '--text', text, '--context', '64'],
    );
    // Sums in f32 over other numbers of threads: 3e-6 was seen.
    expect(perplexity).toBeCloseTo(models[1]!.perplexity, 4);
    const { tokens } = await json<{ tokens: number }>('generate', at('gptq-act-order'), '--prompt', 'Once', '--tokens', '4');
    expect(tokens).toBe(4);
  });

  test('the other runtime rounds to the same bytes, given the same statistics', async () => {
    const env = { FEWBITS_RUNTIME: 'wasm' };
    const args = ['quantize', 'default', '-o', at('wasm'), ...gptq, '--to', 'gptq', '--act-order', '--stats', stats];
    expect((await fewbits(args, { env })).code).toBe(0);
    expect(hashes(at('wasm'), ['report.json'])).toEqual(hashes(at('gptq-act-order'), ['report.json']));
  });

  test('GGUF files have no g_idx: --act-order would change nothing and is refused', async () => {
    const ordered = ['quantize', 'default', '-o', at('ordered.gguf'), ...gptq, '--type', 'q4_k_m', '--act-order'];
    expect(await refuse(ordered)).toMatch(/--act-order: gguf stores no g_idx.*--to fewbits or --to gptq/);
    expect(existsSync(at('ordered.gguf'))).toBe(false);
  });
});

describe.each([
  { order: 'parallel', out: 'quantized', options: ['--to', 'gptq'] },
  { order: 'sequential', out: 'model.gguf', options: ['--type', 'q4_0'] },
])('killed, $order', ({ order, out, options }) => {
  const place = (name: string) => join(folder, order, name);
  const command = (name: string) => [
    ...['quantize', 'default', '-o', join(place(name), out), ...gptq, ...options, '--calibration', order],
    ...[...few, '--layers', '0-1', '--keep', '*.mlp.*', '--threads', '2', '--json'],
  ];
  const report = out.includes('.') ? `${out}.report.json` : `${out}/report.json`;
  const reportAt = (name: string) => readJson<Report>(join(place(name), report));

  test('at three moments: the same bytes, all solves in the report', async () => {
    const began = performance.now();
    expect((await fewbits(command('whole'))).code).toBe(0);
    const duration = performance.now() - began;
    const whole = hashes(place('whole'), [report]);
    expect(reportAt('whole').solves).toHaveLength(4);
    expect(reportAt('whole').calibration.text).toMatchObject({ name: 'tinystories.train.txt' });
    let resumed = 0;
    // Half of a run is start: models and kernels are loaded.
    for (const part of [0.5, 0.65, 0.85]) {
      const { child, ended } = start(command('killed'));
      const timer = setTimeout(() => child.kill('SIGKILL'), part * duration);
      await ended;
      clearTimeout(timer);
      if (part === 0.65 && existsSync(join(place('killed'), `${out}.unfinished`)))
        expect(await refuse([...command('killed'), '--text', text])).toMatch(
          /unfinished output of another calibration text lies here/,
        );
      const complete = existsSync(join(place('killed'), out)) && !existsSync(join(place('killed'), `${out}.unfinished`));
      if (!complete) {
        const { code, stderr } = await fewbits(command('killed'));
        expect({ code, why: code ? stderr : '' }, `after ${part}`).toEqual({ code: 0, why: '' });
        resumed += reportAt('killed').resumed;
      }
      expect(hashes(place('killed'), [report]), `after ${part}`).toEqual(whole);
      expect(listing(place('killed'))).toEqual(listing(place('whole')));
      expect(reportAt('killed').solves).toEqual(reportAt('whole').solves);
      expect(reportAt('killed').tensors).toEqual(reportAt('whole').tensors);
      rmSync(place('killed'), { recursive: true });
    }
    expect(resumed).toBeGreaterThan(0);
  }, 300_000);
});

describe('a bag of tensors and its statistics', () => {
  const bag = at('bag.safetensors');
  const cols = 256;
  const matrix = (values: Float32Array, shape: number[]): Tensor => ({
    type: 'f32',
    shape,
    bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  });
  /** Of inputs that neighbours share. */
  const hessian = (() => {
    const x = noise(300 * cols, 5);
    for (let i = 1; i < x.length; i++) x[i] = x[i]! + 0.9 * x[i - 1]!;
    const sums = new Float32Array(cols * cols);
    for (let t = 0; t < 300; t++)
      for (let i = 0; i < cols; i++)
        for (let j = 0; j < cols; j++) sums[i * cols + j]! += (x[t * cols + i]! * x[t * cols + j]!) / 300;
    return sums;
  })();
  /** One pair of inputs would have a correlation of 1000. */
  const impossible = Float32Array.from({ length: cols * cols }, (_, i) =>
    i % (cols + 1) === 0 ? 1 : i === 1 || i === cols ? 1e3 : 0,
  );
  const tokens: Tensor = { type: 'i64', shape: [1], bytes: new Uint8Array(BigInt64Array.of(300n).buffer) };
  const write = (name: string, tensors: Record<string, Tensor>, alias?: object) => {
    const metadata = new Map(alias ? [['alias', JSON.stringify(alias)]] : []);
    writeFileSync(at(name), writeSafetensors(new Map(Object.entries(tensors)), metadata));
    return at(name);
  };

  beforeAll(() => {
    writeBag(bag, {
      'a.weight': { shape: [64, cols], values: noise(64 * cols, 1) },
      'b.weight': { shape: [32, cols], values: noise(32 * cols, 2) },
      'a.bias': { shape: [64], values: noise(64, 3) },
    });
    write('bag-stats.safetensors', { 'a.hessian': matrix(hessian, [cols, cols]), 'a.tokens': tokens }, { b: 'a' });
  });

  test.each([
    ['bag.gguf', ['--type', 'q4_k']],
    ['bag-q3.gguf', ['--type', 'q3_k']],
    ['bag-out.safetensors', ['--bits', '4', '--group', '64']],
    ['bag-fewbits', ['--bits', '3', '--group', '-1', '--to', 'fewbits', '--asymmetric']],
    ['bag-gptq', ['--bits', '4', '--group', '32', '--to', 'gptq', '--act-order']],
    ['bag-ct', ['--bits', '4', '--group', '64', '--to', 'compressed-tensors']],
  ])('to %s', async (name, options) => {
    const args = ['quantize', bag, '-o', at(name), ...gptq, ...options];
    expect(await refuse(args)).toMatch(/a\.weight: hessian of the inputs.*--stats/);
    expect(existsSync(at(name))).toBe(false);
    const { solves, warnings } = await json<Report>(...args, '--stats', at('bag-stats.safetensors'));
    expect(solves.map(({ linears }) => linears)).toEqual([['a', 'b']]);
    expect(warnings.filter((warning) => !warning.includes('no runtime can load'))).toEqual([]);
    expect(await json('verify', at(name), '--against', bag)).toMatchObject({ ok: true, problems: [] });
  });

  test('a Hessian that no damp makes positive definite: nearest codes, and both reports say so', async () => {
    const bad = write(
      'impossible.safetensors',
      { 'a.hessian': matrix(impossible, [cols, cols]), 'a.tokens': tokens },
      { b: 'a' },
    );
    const grid = ['--bits', '4', '--group', '64', '--to', 'fewbits', '--range', 'absmax'];
    const { solves, warnings, tensors } = await json<Report>(
      'quantize',
      bag,
      '-o',
      at('fallen'),
      ...gptq,
      ...grid,
      '--stats',
      bad,
    );
    expect(solves).toEqual([
      expect.objectContaining({ linears: ['a', 'b'], retries: 3, damp: 10, fallback: expect.any(String) }),
    ]);
    expect(tensors.filter(({ feedback }) => feedback)).toEqual([]);
    expect(warnings).toEqual([
      'a.weight: rounded to nearest: the Hessian is not positive definite, even with damp 10',
      'b.weight: rounded to nearest: the Hessian is not positive definite, even with damp 10',
    ]);
    await json('quantize', bag, '-o', at('nearest'), ...grid);
    const [fallen, nearest] = await Promise.all(
      ['fallen', 'nearest'].map((name) => hashedTensors(join(at(name), 'model.safetensors'))),
    );
    expect(fallen).toEqual(nearest);
  });

  test('statistics that do not fit are refused', async () => {
    const other = (tensors: Record<string, Tensor>) => [
      ...['quantize', bag, '-o', at('refused'), ...gptq, '--group', '64', '--to', 'fewbits', '--stats'],
      write('other.safetensors', tensors),
    ];
    const good = matrix(hessian, [cols, cols]);
    const narrow = matrix(new Float32Array(128 * 128), [128, 128]);
    const nan = matrix(hessian.with(7, Number.NaN), [cols, cols]);
    expect(await refuse(other({ 'a.hessian': good }))).toMatch(/b: .*no hessian/);
    expect(await refuse(other({ 'a.hessian': narrow, 'b.hessian': good }))).toMatch(/a.*(128|width)/);
    expect(await refuse(other({ 'a.meansquare': matrix(new Float32Array(cols).fill(1), [cols]), 'b.hessian': good }))).toMatch(
      /a: .*no hessian/,
    );
    expect(await refuse(other({ 'a.hessian': nan, 'b.hessian': good }))).toMatch(/a.*(NaN|finite)/);
    expect(existsSync(at('refused'))).toBe(false);
    expect(existsSync(at('refused.unfinished'))).toBe(false);
  });
});

test('statistics of some layers are for these layers', async () => {
  const part = at('part.safetensors');
  await json('calibrate', 'default', '-o', part, ...few, '--layers', '1-2');
  const plan = ['plan', 'default', '--type', 'q4_0', ...gptq, '--stats', part];
  expect(await refuse(plan)).toMatch(
    /: model\.embed_tokens: .*no hessian of this linear's input; of layers they hold 1, 2; .*--layers 1-2/,
  );
  expect((await json<Report>(...plan, '--layers', '1-2')).warnings).toEqual([]);
});

describe('refused in one line, and nothing written', () => {
  const short = at('short.txt');
  const [latin, empty] = [at('latin.txt'), at('empty.txt')];
  beforeAll(() => {
    writeFileSync(short, 'Once upon a time');
    writeFileSync(latin, 'caf\xe9', 'latin1');
    writeFileSync(empty, '');
  });
  test.each<[string, string[], RegExp]>([
    ['a short text', [...gptq, '--text', short], /calibration text is too short: it has \d+ tokens/],
    ['a text that is not UTF-8', [...gptq, '--text', latin], /latin\.txt: the text is not UTF-8: byte 0xe9 at offset 3/],
    ['an empty text', [...gptq, '--text', empty], /the calibration text is empty; give one of at least 256 tokens/],
    ['damp of nothing', ['--method', 'rtn', '--damp', '0.1'], /--damp: this belongs to GPTQ.*--method gptq/],
    ['an order of nothing', ['--act-order'], /--act-order: this belongs to GPTQ/],
    ['groups that do not divide', [...gptq, '--group', '100'], /768 columns in groups of 100.*--group 64 or 32/],
    ['layers that are not there', [...gptq, '--layers', '2-9'], /no such layers.*2-9.*0-3/],
    ['no chat template', [...gptq, '--chat-template'], /the model has no chat template/],
    [
      'an importance matrix for a Hessian',
      [...gptq, '--stats', golden('gguf/tinystories-3.7m.imatrix.gguf')],
      /no hessian of any input: an importance matrix has mean squares only; make them with fewbits calibrate MODEL -o STATS\.safetensors/,
    ],
    [
      'a text for nothing',
      ['--bits', '4', '--text', short],
      /--text: nothing here looks at activations.*--method gptq, or --range imatrix/,
    ],
    [
      'a text for floats',
      ['--type', 'f16', '--to', 'safetensors', ...gptq, '--text', short],
      /--text: .*; leave it out, or choose a type/,
    ],
    ['three bits', [...gptq, '--bits', '3', '--to', 'compressed-tensors'], /4 and 8 bits; use --to fewbits/],
    ['a context beyond the model', [...gptq, '--context', '100000'], /longer than the model allows/],
    ['more than a method', [...gptq, '--type', 'q4_0', '--bits', '4'], /and --bits describes another one.*one or the other/],
  ])('%s', async (_, options, message) => {
    const before = listing(folder);
    expect(await refuse(['quantize', 'default', '-o', at('no'), ...options])).toMatch(message);
    expect(listing(folder)).toEqual(before);
  });
});
