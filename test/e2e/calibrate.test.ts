/** The command `calibrate` on the default model, as users and scripts run it. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { open } from '../../src/format/index.ts';
import { openStatistics } from '../../src/run/index.ts';
import { fewbits, golden, json, project, sha256, start, succeed, temporaryFolder } from './cli.ts';

interface Calibrated {
  output: string;
  tokens: number;
  tensors: number;
  vocabulary: { seen: number; size: number };
  inputs: { linears: string[]; width: number; tokens: number; dead: number }[];
  warnings: string[];
}

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const few = ['--samples', '5', '--context', '64'];
const first = ['calibrate', 'default', '-o', at('s.safetensors'), ...few];
let document: Calibrated;

beforeAll(async () => {
  document = await json<Calibrated>(...first);
});

const refuse = async (...args: string[]) => {
  const { code, stderr, stdout } = await fewbits(args);
  expect([code, stdout]).toEqual([2, '']);
  return stderr;
};

test('one document with exactly these keys', () => {
  expect(Object.keys(document)).toEqual([
    'output',
    'tokens',
    'tensors',
    'samples',
    'context',
    'kinds',
    'vocabulary',
    'inputs',
    'seconds',
    'warnings',
  ]);
  expect(document).toMatchObject({
    output: at('s.safetensors'),
    tokens: 320,
    tensors: 29,
    samples: 5,
    context: 64,
    kinds: ['hessian', 'absmax', 'absmean', 'meansquare', 'min', 'max'],
    vocabulary: { size: 2048 },
  });
  expect(document.inputs).toHaveLength(17);
  expect(document.inputs[3]).toEqual({ linears: ['model.layers.0.mlp.down_proj'], width: 768, tokens: 320, dead: 0 });
  expect(document.warnings).toHaveLength(4);
  expect(document.warnings[0]).toMatch(/layers\.0\.mlp\.down_proj: 320 tokens are fewer than its 768 inputs/);
  expect(readdirSync(folder)).toEqual(['s.safetensors']);
});

test('the same bytes for any number of threads, and again', async () => {
  const hash = sha256(readFileSync(at('s.safetensors')));
  for (const threads of ['1', '2', '3']) {
    await succeed(...first, '--force', '--quiet', '--threads', threads);
    expect(sha256(readFileSync(at('s.safetensors')))).toBe(hash);
  }
});

test('some layers and kinds only', async () => {
  const part = ['calibrate', 'default', '-o', at('part.safetensors'), ...few, '--layers', '1-2', '--kinds', 'absmax,hessian'];
  const { tensors, inputs } = await json<Calibrated>(...part);
  expect([tensors, inputs.length]).toEqual([14, 8]);
  const [all, some] = [await openStatistics(at('s.safetensors')), await openStatistics(at('part.safetensors'))];
  for (const linear of some.linears()) {
    expect(linear).toMatch(/layers\.[12]\./);
    expect([some.has(linear, 'absmax'), some.has(linear, 'max')]).toEqual([true, false]);
    for (const kind of ['hessian', 'absmax'] as const)
      expect(await some.read(linear, kind)).toEqual(await all.read(linear, kind));
  }
  await Promise.all([all.close(), some.close()]);
});

describe('llama.cpp’s importance matrix', () => {
  // What llama-imatrix was given: the text without its separators (test/golden/gguf/README.md).
  beforeAll(async () => {
    const text = readFileSync(project('models/text/tinystories.train.txt'), 'utf8').replaceAll('<|endoftext|>', '');
    writeFileSync(at('calibration.txt'), text);
    await json('calibrate', 'default', '--text', at('calibration.txt'), '-o', at('i.gguf'));
  });

  test('is what llama-imatrix finds, but for its f16 weights', async () => {
    const model = await open(project('models/tinystories-3.7m'));
    const ours = await openStatistics(at('i.gguf'), model);
    const theirs = await openStatistics(golden('gguf/tinystories-3.7m.imatrix.gguf'), model);
    expect(theirs.linears()).toHaveLength(28);
    expect(ours.linears()).toHaveLength(29); // theirs leaves the head out
    for (const linear of theirs.linears()) {
      expect([ours.tokens(linear), theirs.tokens(linear)]).toEqual([32768, 32768]);
      const [a, b] = [await ours.read(linear, 'meansquare'), await theirs.read(linear, 'meansquare')];
      const worst = a.reduce((most, value, i) => Math.max(most, Math.abs(value / b[i]! - 1)), 0);
      // llama.cpp rounds activations to f16 in its products: 2.6e-4 was measured.
      expect(worst, linear).toBeLessThan(1e-3);
    }
    await Promise.all([ours.close(), theirs.close(), model.close()]);
  });

  test('the header is that of llama.cpp', () => {
    const head = (path: string) =>
      readFileSync(path)
        .subarray(24, 24 + 190)
        .toString('latin1');
    const upTo = (text: string) => text.slice(0, text.indexOf('imatrix.chunk_size') + 26);
    expect(upTo(head(at('i.gguf')))).toBe(upTo(head(golden('gguf/tinystories-3.7m.imatrix.gguf'))));
  });

  test('inspect says what such files are, and nothing takes them for models', async () => {
    const lines = async (name: string) => (await succeed('inspect', at(name))).split('\n');
    const [first, second] = await lines('s.safetensors');
    expect(first).toMatch(/: statistics of 29 linears, 320 tokens: hessian, absmax, absmean, meansquare, min, max; no model/);
    expect(second).toBe('made by fewbits 0.1.0 from tinystories.train.txt, 5 windows of 64 tokens');
    expect((await lines('i.gguf'))[0]).toMatch(/: statistics of 29 linears, 32768 tokens: meansquare; no model/);
    const { container, tensors } = await json<{ container: string; tensors: { name: string }[] }>('inspect', at('s.safetensors'));
    expect(container).toBe('statistics');
    expect(tensors.find(({ name }) => name.endsWith('layers.0.self_attn.k_proj'))).toEqual({
      ...{ name: 'model.layers.0.self_attn.k_proj', width: 256, tokens: 320, sharedWith: 'model.layers.0.self_attn.q_proj' },
      kinds: ['hessian', 'absmax', 'absmean', 'meansquare', 'min', 'max'],
    });
    for (const name of ['s.safetensors', 'i.gguf'])
      expect(await refuse('quantize', at(name), '-o', at('x.safetensors'), '--bits', '4')).toMatch(
        /holds statistics and no model; .*--stats/,
      );
  });

  test('conversions, and their use in a plan', async () => {
    expect(await json('calibrate', at('s.safetensors'), '-o', at('c.gguf'))).toEqual({
      output: at('c.gguf'),
      tokens: 320,
      tensors: 29,
      warnings: ['the output does not hold hessian, absmax, absmean, min, max'],
    });
    expect(await json('calibrate', at('c.gguf'), '-o', at('c.dat'))).toMatchObject({ tensors: 29, warnings: [] });
    expect(await json('calibrate', at('c.dat'), '-o', at('d.safetensors'))).toMatchObject({ tensors: 29, warnings: [] });
    for (const stats of ['s.safetensors', 'c.gguf', 'c.dat', 'd.safetensors'])
      expect(await json('plan', 'default', '--type', 'q2_k_s', '--stats', at(stats))).toHaveProperty('bytes');
  });
});

test('Ctrl-C: exit code 130, nothing stays, and it is said', async () => {
  const { child, ended } = start(['calibrate', 'default', '-o', at('stopped.safetensors')]);
  while (!existsSync(at('stopped.safetensors.unfinished/statistics'))) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill('SIGINT');
  const { code, stderr } = await ended;
  expect(code).toBe(130);
  expect(stderr).toMatch(/fewbits: interrupted; nothing was written, and the same command starts over\n$/);
  expect(readdirSync(folder).filter((name) => name.startsWith('stopped'))).toEqual([]);
});

test('what cannot be done is refused in a line', async () => {
  expect(await refuse(...first)).toMatch(/exists already.*--force/);
  expect(await refuse('calibrate', 'default', '-o', at('x.bin'))).toMatch(/\.safetensors, \.gguf or \.dat/);
  expect(await refuse('calibrate', 'default', '-o', at('x.gguf'), '--kinds', 'hessian')).toMatch(/cannot hold hessian/);
  expect(await refuse('calibrate', 'default', '-o', at('x.gguf'), '--kinds', 'mean')).toMatch(/must be a list of/);
  expect(await refuse('calibrate', 'default', '-o', at('x.gguf'), '--layers', '2-9')).toMatch(/no such layers.*2-9.*0-3/);
  expect(await refuse('calibrate', 'default', '-o', at('x.gguf'), '--samples', '100000')).toMatch(
    /too short.*at most \d+ samples/,
  );
  expect(await refuse('calibrate', 'default', '-o', at('x.gguf'), '--chat-template')).toMatch(/no chat template/);
  expect(await refuse('calibrate', at('s.safetensors'), '-o', at('x.gguf'), '--chat-template')).toMatch(/--chat-template/);
  expect(await refuse('calibrate', at('nowhere'), '-o', at('x.gguf'))).toMatch(/nowhere/);
  writeFileSync(at('short.txt'), 'Once upon a time');
  expect(await refuse('calibrate', 'default', '-o', at('x.gguf'), '--text', at('short.txt'))).toMatch(/too short/);
  writeFileSync(at('bad.dat'), 'no statistics');
  expect(await refuse('calibrate', at('bad.dat'), '-o', at('x.gguf'))).toMatch(/bad\.dat/);
  expect(readdirSync(folder).filter((name) => name.startsWith('x.'))).toEqual([]);
});
