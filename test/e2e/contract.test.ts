/** What scripts rely on: documents, exit codes, streams, options. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint, readTensor } from '../../src/checkpoint/index.ts';
import { toF32 } from '../../src/tensor/index.ts';
import {
  fewbits,
  golden,
  hashedTensors,
  hashes,
  json,
  listing,
  noise,
  project,
  readJson,
  refuse,
  sha256,
  succeed,
  temporaryFolder,
  writeBag,
} from './cli.ts';

interface Planned {
  bytes: number;
  bitsPerWeight: number;
  peakMemory: number;
  tensors: { name: string; source: string; scheme: string; bytes: number }[];
  warnings: string[];
}
interface Report extends Planned {
  output: string;
  seconds: number;
}

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const text = at('text.txt');
const linear = /self_attn\.|mlp\./;

beforeAll(async () => {
  writeFileSync(text, readFileSync(project('models/text/tinystories.valid.txt')).subarray(0, 12_000));
  await json('quantize', 'default', '-o', at('q8.gguf'), '--type', 'q8_0');
  await json('quantize', 'default', '-o', at('q2.gguf'), '--type', 'q2_k');
  await json('quantize', 'default', '-o', at('int4'), '--bits', '4', '--group', '64');
});

describe('one JSON document on stdout, with the keys of the contract', () => {
  const llama = golden('architectures/llama');
  const windows = ['--text', text, '--context', '128'];
  const cases: [string, string[], string[], { list: string; keys: string[] }?][] = [
    [
      'inspect',
      ['inspect', 'default'],
      ['container', 'architecture', 'parameters', 'bytes', 'bitsPerWeight', 'tensors'],
      { list: 'tensors', keys: ['name', 'type', 'shape', 'bytes'] },
    ],
    [
      'inspect --values',
      ['inspect', 'default', '--values'],
      ['tensors'],
      { list: 'tensors', keys: ['name', 'min', 'max', 'absmax', 'outlierRatio'] },
    ],
    [
      'plan',
      ['plan', 'default', '--type', 'q4_k_m'],
      ['bytes', 'bitsPerWeight', 'peakMemory', 'tensors'],
      { list: 'tensors', keys: ['name', 'scheme', 'bytes'] },
    ],
    [
      'quantize',
      ['quantize', 'default', '-o', at('contract.gguf'), '--type', 'q4_k_m'],
      ['output', 'bytes', 'bitsPerWeight', 'seconds', 'peakMemory', 'tensors'],
      { list: 'tensors', keys: ['name', 'scheme', 'bytes', 'sqnr', 'cosine', 'maxError'] },
    ],
    ['evaluate', ['evaluate', 'default', ...windows], ['perplexity', 'nll', 'standardError', 'tokens', 'seconds']],
    [
      'compare',
      ['compare', 'default', at('q8.gguf'), ...windows],
      ['reference', 'models'],
      { list: 'models', keys: ['model', 'bytes', 'bitsPerWeight', 'perplexity', 'kl', 'sameTop', 'sameTopError'] },
    ],
    ['convert', ['convert', 'default', '-o', at('converted.gguf')], ['output', 'lossless', 'bytes']],
    [
      'verify',
      ['verify', at('q8.gguf'), '--against', 'default'],
      ['ok', 'problems', 'tensors'],
      { list: 'tensors', keys: ['name', 'sqnr', 'cosine', 'maxError'] },
    ],
    ['generate', ['generate', 'default', '--prompt', 'Once upon a time', '--tokens', '8'], ['text', 'tokens', 'tokensPerSecond']],
    [
      'forward',
      ['forward', llama, '--tokens', join(llama, 'expected.safetensors'), '-o', at('contract.safetensors')],
      ['output', 'shape', 'seconds'],
    ],
  ];

  test.each(cases)('%s', async (_, args, keys, items) => {
    const { code, stdout, stderr } = await fewbits([...args, '--json', '--quiet']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const document = JSON.parse(stdout) as Record<string, unknown>;
    expect(Object.keys(document)).toEqual(expect.arrayContaining([...keys, 'warnings']));
    expect(document['warnings']).toEqual([]);
    if (items) {
      const list = document[items.list] as object[];
      expect(list.length).toBeGreaterThan(0);
      for (const item of list) expect(Object.keys(item)).toEqual(expect.arrayContaining(items.keys));
    }
    expect(JSON.stringify(document)).not.toMatch(/NaN|Infinity/);
  });

  test('inspect: the figures of the default model', async () => {
    expect(await json('inspect', 'default')).toMatchObject({
      container: 'huggingface',
      architecture: 'llama',
      parameters: 3_672_320,
      bytes: 2 * 3_672_320,
      bitsPerWeight: 16,
    });
  });

  test('generate: greedy text is the same whatever the path to it', async () => {
    const args = ['generate', 'default', '--prompt', 'Once upon a time', '--tokens', '24'];
    const { text, tokens } = await json<{ text: string; tokens: number }>(...args);
    expect(tokens).toBe(24);
    expect(await succeed(...args, '--quiet')).toBe(`Once upon a time${text}\n`);
    expect((await json<{ text: string }>(...args, '--threads', '1')).text).toBe(text);
  });

  test('generate: a seed gives the same text again', async () => {
    const sampled = async (seed: string) => {
      const options = ['--prompt', 'Lily', '--tokens', '16', '--temperature', '1', '--top-p', '0.9', '--seed', seed];
      return (await json<{ text: string }>('generate', 'default', ...options)).text;
    };
    expect(await sampled('5')).toBe(await sampled('5'));
    expect(await sampled('6')).not.toBe(await sampled('5'));
  });
});

describe('streams', () => {
  test('progress goes to stderr, and --quiet stops it', async () => {
    const args = ['evaluate', 'default', '--threads', '1', '--json'];
    const loud = await fewbits(args);
    expect(loud.code).toBe(0);
    expect(loud.stderr).toMatch(/^scored \d+ of \d+ tokens\n/);
    expect(Object.keys(JSON.parse(loud.stdout))).toContain('perplexity');
    const quiet = await fewbits([...args, '--quiet']);
    expect(quiet.stderr).toBe('');
    expect(JSON.parse(quiet.stdout).perplexity).toBe(JSON.parse(loud.stdout).perplexity);
  });

  test('warnings of a plan are in the document, and on stderr while a run goes on', async () => {
    const bag = at('odd.safetensors');
    writeBag(bag, { 'x.weight': { shape: [4, 36], values: noise(144, 1) } });
    const { warnings } = await json<Planned>('plan', bag, '--type', 'q4_k', '-o', 'x.gguf');
    expect(warnings.join('\n')).toMatch(/x\.weight: q4_k -> \w+: rows of 36 values/);
    const { stdout, stderr } = await fewbits(['quantize', bag, '--type', 'q4_k', '-o', at('odd.gguf'), '--json']);
    expect(JSON.parse(stdout).warnings).toEqual(warnings);
    for (const warning of warnings) expect(stderr).toContain(`warning: ${warning}\n`);
  });

  test('NO_COLOR', async () => {
    const colored = await fewbits(['inspect', 'default'], { env: { FORCE_COLOR: '1' } });
    const plain = await fewbits(['inspect', 'default'], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } });
    expect(colored.stdout).toContain('\u001b[');
    expect(plain.stdout).not.toContain('\u001b');
    expect((await fewbits(['inspect', 'default'])).stdout).toBe(plain.stdout);
  });

  test('a reader that closes the pipe early is no error', async () => {
    const { code, stdout, stderr } = await fewbits(['inspect', 'default'], { shell: 'set -o pipefail; "$@" | head -1' });
    expect({ code, stderr, lines: stdout.split('\n').length }).toEqual({ code: 0, stderr: '', lines: 2 });
  });

  test('--help and --version', async () => {
    expect((await succeed('--version')).trim()).toBe(readJson<{ version: string }>(project('package.json')).version);
    for (const args of [['--help'], ['quantize', '--help']]) expect(await succeed(...args)).toMatch(/^Usage: fewbits/);
  });
});

describe('exit code 1: a check failed', () => {
  const windows = ['--text', text, '--context', '128'];

  test('compare --max-kl', async () => {
    const args = ['compare', 'default', at('q8.gguf'), at('q2.gguf'), ...windows, '--json', '--quiet', '--max-kl'];
    const { code, stdout, stderr } = await fewbits([...args, '0.01']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^fewbits: mean KL above the limit of 0\.01: [^\n]*q2\.gguf 0\.\d+\n$/);
    const { models } = JSON.parse(stdout) as { models: { kl: { mean: number } }[] };
    expect(models[0]!.kl.mean).toBeLessThan(0.001);
    expect(models[1]!.kl.mean).toBeGreaterThan(0.05);
    expect((await fewbits([...args, '1'])).code).toBe(0);
  });

  test('quantize --evaluate --max-kl: the output stays, the run fails', async () => {
    const options = ['--type', 'q2_k', '--evaluate', text, '--context', '128', '--max-kl', '0.01', '--json'];
    const { code, stdout } = await fewbits(['quantize', 'default', '-o', at('limit.gguf'), ...options]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout).evaluation.kl.mean).toBeGreaterThan(0.05);
    expect(sha256(readFileSync(at('limit.gguf')))).toBe(sha256(readFileSync(at('q2.gguf'))));
  });

  test('verify: a scale that became NaN', async () => {
    const damaged = at('damaged.gguf');
    const bytes = readFileSync(at('q8.gguf'));
    const { tensors, close } = await openCheckpoint(at('q8.gguf'));
    const { offset } = tensors.get('blk.2.ffn_up.weight')!;
    await close();
    // q8_0: blocks of an f16 scale and 32 codes; 8 blocks a row. 0x7e00 is NaN.
    bytes.writeUInt16LE(0x7e00, offset + 34 * (8 * 3 + 2));
    writeFileSync(damaged, bytes);
    const { code, stdout, stderr } = await fewbits(['verify', damaged, '--json']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^fewbits: [^\n]*did not pass[^\n]*\n$/);
    const { ok, problems } = JSON.parse(stdout) as { ok: boolean; problems: string[] };
    expect(ok).toBe(false);
    expect(problems).toEqual(['model.layers.2.mlp.up_proj.weight[3, 64] is NaN']);
    expect((await fewbits(['verify', at('q8.gguf')])).code).toBe(0);
  });

  test('verify --against another model', async () => {
    const { code, stdout } = await fewbits(['verify', at('q8.gguf'), '--against', golden('models/stories260K'), '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(stdout).problems[0]).toMatch(/made from another source/);
  });
});

describe('plan and run agree', () => {
  const cases = [
    { name: 'agree.gguf', options: ['--type', 'q4_k_m'] },
    { name: 'agree-f16.gguf', options: ['--type', 'f16'] },
    { name: 'agree', options: ['--bits', '3', '--group', '32', '--asymmetric'] },
    { name: 'agree.safetensors', options: ['--bits', '5', '--group', '-1', '--range', 'mse'] },
  ];

  test.each(cases)('$name', async ({ name, options }) => {
    const planned = await json<Planned>('plan', 'default', '-o', name, ...options);
    const report = await json<Report>('quantize', 'default', '-o', at(name), ...options);
    const isFile = name.includes('.');
    const files = isFile
      ? [at(name)]
      : listing(at(name))
          .filter((file) => file !== 'report.json')
          .map((file) => join(at(name), file));
    expect(files.reduce((sum, file) => sum + statSync(file).size, 0)).toBe(planned.bytes);
    expect(report.bytes).toBe(planned.bytes);
    expect(report.bitsPerWeight).toBe(planned.bitsPerWeight);
    const strip = ({ tensors }: Planned) => tensors.map(({ name, scheme, bytes }) => ({ name, scheme, bytes }));
    expect(strip(report)).toEqual(strip(planned));
    expect(report.peakMemory).toBeLessThan(planned.peakMemory);
    // The report beside the output is the document that was printed, but for how the output is named.
    const written = readJson<Report>(isFile ? `${at(name)}.report.json` : join(at(name), 'report.json'));
    expect({ ...written, output: '' }).toEqual({ ...report, output: '' });
  });

  test.each(cases)('$name again from its printed recipe', async ({ name, options }) => {
    const recipe = at(`${name}.recipe.json`);
    writeFileSync(recipe, await succeed('plan', 'default', '-o', name, ...options, '--print-recipe'));
    const again = name.replace('agree', 'again');
    await json('quantize', 'default', '-o', at(again), '--recipe', recipe);
    if (name.includes('.')) expect(sha256(readFileSync(at(again)))).toBe(sha256(readFileSync(at(name))));
    else expect(hashes(at(again), ['report.json'])).toEqual(hashes(at(name), ['report.json']));
  });
});

describe('options', () => {
  const schemes = async (...options: string[]) => {
    const { tensors } = await json<Planned>('plan', 'default', ...options);
    return new Map(tensors.map(({ source, scheme }) => [source, scheme]));
  };
  const recipe = (name: string, document: object) => {
    writeFileSync(at(name), JSON.stringify(document));
    return at(name);
  };

  test('mixed precision by hand: attention at 8 bits, MLP at 4', async () => {
    const storage = (type: string) => ({ kind: 'storage', type });
    const integer = (bits: number) => ({
      ...{ kind: 'integer', bits, symmetric: true, granularity: { group: 64 }, range: 'absmax-half', scaleType: 'f16' },
    });
    const rules = (scheme: (bits: number) => object) => ({
      version: 1,
      rules: [
        { role: 'attention', scheme: scheme(8) },
        { role: 'mlp', scheme: scheme(4) },
      ],
    });
    const gguf = recipe(
      'mixed-gguf.json',
      rules((bits) => storage(`q${bits}_0`)),
    );
    const own = recipe('mixed-fewbits.json', rules(integer));
    const made = [
      { output: 'mixed.gguf', recipe: gguf, labels: ['q8_0', 'q4_0'] },
      { output: 'mixed', recipe: own, labels: ['int8 g64 sym', 'int4 g64 sym'] },
    ];
    for (const { output, recipe, labels } of made) {
      const { tensors } = await json<Report>('quantize', 'default', '-o', at(output), '--recipe', recipe);
      for (const { source, scheme } of tensors) {
        if (source.includes('self_attn')) expect(scheme, source).toBe(labels[0]);
        else if (source.includes('mlp')) expect(scheme, source).toBe(labels[1]);
        else expect(scheme, source).toMatch(/^(bf16|f32)$/);
      }
    }
    const { models } = await json<{ models: { bitsPerWeight: number; kl: { mean: number } }[] }>(
      ...['compare', 'default', at('mixed.gguf'), at('mixed'), at('q8.gguf'), '--text', text, '--context', '128'],
    );
    for (const { kl } of models.slice(0, 2)) {
      expect(kl.mean).toBeGreaterThan(models[2]!.kl.mean);
      expect(kl.mean).toBeLessThan(0.05);
    }
  });

  test('--pure', async () => {
    const pure = await schemes('--type', 'q4_k_m', '--pure');
    for (const [name, scheme] of pure) expect(scheme, name).toBe(name.includes('norm') ? 'f32' : 'q4_k');
    expect(new Set((await schemes('--type', 'q4_k_m')).values())).toEqual(new Set(['f32', 'q4_k', 'q6_k']));
  });

  test('--requantize: what is quantized already is rounded twice, which is said unless it is meant', async () => {
    const { warnings } = await json<Planned>('plan', at('q8.gguf'), '--type', 'q4_0');
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^29 tensors are quantized already \(.*: q8_0\).*--requantize$/);
    expect((await json<Planned>('plan', at('q8.gguf'), '--type', 'q4_0', '--requantize')).warnings).toEqual([]);
    expect((await json<Planned>('plan', at('q8.gguf'), '--type', 'q8_0')).warnings).toEqual([]);
  });

  test('--keep', async () => {
    const kept = await schemes('--type', 'q4_0', '--keep', '*.layers.0.*', '--keep', '*down_proj*');
    for (const [name, scheme] of kept) {
      const stays = name.includes('layers.0.') || name.includes('down_proj');
      if (!name.includes('norm') && linear.test(name)) expect(scheme, name).toBe(stays ? 'bf16' : 'q4_0');
    }
  });

  test('options override the recipe', async () => {
    const file = recipe('override.json', { version: 1, container: 'fewbits', fileType: 'q8_0' });
    expect((await schemes('--recipe', file, '--bits', '2', '--group', '16')).get('model.layers.0.mlp.up_proj.weight')).toBe(
      'int2 g16 sym',
    );
  });

  test('the container follows the name, then --to, then the type', async () => {
    const container = async (...options: string[]) =>
      (await json<{ container: string }>('plan', 'default', ...options)).container;
    expect(await container()).toBe('fewbits');
    expect(await container('--type', 'q4_0')).toBe('gguf');
    expect(await container('--type', 'q4_0', '--to', 'fewbits')).toBe('fewbits');
    expect(await container('--bits', '4', '-o', 'x.gguf')).toBe('gguf');
  });

  test('--max-shard-size: GGUF files that are one model', async () => {
    await json('quantize', 'default', '-o', at('split/split.gguf'), '--type', 'q8_0', '--max-shard-size', '1.2MB');
    const names = listing(at('split'));
    const count = names.length - 1;
    expect(count).toBeGreaterThan(3);
    expect(names).toEqual([
      ...Array.from({ length: count }, (_, i) => `split-0000${i + 1}-of-0000${count}.gguf`),
      'split.gguf.report.json',
    ]);
    const first = at(`split/${names[0]}`);
    expect(await hashedTensors(first)).toEqual(await hashedTensors(at('q8.gguf')));
    const perplexity = async (model: string) =>
      (await json<{ perplexity: number }>('evaluate', model, '--text', text, '--context', '128')).perplexity;
    const whole = await perplexity(at('q8.gguf'));
    expect(await perplexity(first)).toBe(whole);
    await json('convert', first, '-o', at('joined.gguf'));
    expect(await hashedTensors(at('joined.gguf'))).toEqual(await hashedTensors(at('q8.gguf')));
    expect(await perplexity(at('joined.gguf'))).toBe(whole);
  });

  test('--max-shard-size: a folder of safetensors', async () => {
    await json('quantize', 'default', '-o', at('shards'), '--bits', '4', '--group', '64', '--max-shard-size', '1MB');
    const shards = listing(at('shards')).filter((name) => name.endsWith('.safetensors'));
    expect(shards.length).toBeGreaterThan(2);
    for (const name of shards) expect(statSync(join(at('shards'), name)).size).toBeLessThan(1.2e6);
    const document = (model: string) => json<object>('inspect', model);
    expect(await document(at('shards'))).toMatchObject({ container: 'fewbits', architecture: 'llama' });
    const { problems } = await json<{ problems: string[] }>('verify', at('shards'), '--against', 'default');
    expect(problems).toEqual([]);
    const compared = await json<{ models: { perplexity: number; bitsPerWeight: number }[] }>(
      ...['compare', 'default', at('shards'), at('int4'), '--text', text, '--context', '128'],
    );
    expect(compared.models[0]!.perplexity).toBe(compared.models[1]!.perplexity);
  });
});

describe('convert', () => {
  /** Name -> sha256 of the values as f32. */
  const values = async (path: string) => {
    const checkpoint = await openCheckpoint(path);
    const found = new Map<string, string>();
    for (const entry of checkpoint.tensors.values()) {
      const f32 = toF32(entry.type, (await readTensor(entry)).bytes);
      found.set(entry.name, sha256(new Uint8Array(f32.buffer, f32.byteOffset, f32.byteLength)));
    }
    await checkpoint.close();
    return new Map([...found].sort());
  };

  test('safetensors to GGUF and back loses nothing, and the folder is a model again', async () => {
    const there = await json<{ lossless: boolean }>('convert', 'default', '-o', at('round.gguf'));
    const back = await json<{ lossless: boolean }>('convert', at('round.gguf'), '-o', at('round'));
    expect([there.lossless, back.lossless]).toEqual([true, true]);
    expect(await values(at('round'))).toEqual(await values(project('models/tinystories-3.7m')));
    const score = (model: string) => json<{ nll: number; tokens: number }>('evaluate', model, '--text', text, '--context', '128');
    const [before, after] = [await score('default'), await score(at('round'))];
    expect(after.tokens).toBe(before.tokens);
    expect(after.nll).toBeCloseTo(before.nll, 6);
  });

  test('what would be lost is refused, and allowed by --requantize', async () => {
    expect(await refuse(['convert', at('q8.gguf'), '-o', at('lossy.gguf'), '--type', 'f16'])).toMatch(
      /without loss.*--requantize/,
    );
    const { lossless } = await json<{ lossless: boolean }>(
      ...['convert', at('q8.gguf'), '-o', at('lossy.gguf'), '--type', 'f16', '--requantize'],
    );
    expect(lossless).toBe(false);
  });

  test('a quantized GGUF becomes plain safetensors of its exact values', async () => {
    const { lossless } = await json<{ lossless: boolean }>('convert', at('q8.gguf'), '-o', at('plain'));
    expect(lossless).toBe(true);
    const { problems, tensors } = await json<{ problems: string[]; tensors: { maxError: number }[] }>(
      ...['verify', at('plain'), '--against', at('q8.gguf')],
    );
    expect(problems).toEqual([]);
    expect(Math.max(...tensors.map(({ maxError }) => maxError))).toBe(0);
  });
});

describe('a bag of tensors', () => {
  const bag = at('bag.safetensors');
  beforeAll(() =>
    writeBag(bag, {
      'a.weight': { shape: [64, 256], values: noise(64 * 256, 1) },
      'a.bias': { shape: [64], values: noise(64, 2) },
      'b.norm.weight': { shape: [256], values: noise(256, 3) },
      'c.weight': { shape: [32, 128], values: noise(32 * 128, 4) },
    }),
  );

  test.each([
    ['bag-out.gguf', ['--type', 'q4_0'], 'q4_0'],
    ['bag-out.safetensors', ['--bits', '4', '--group', '32'], 'int4 g32 sym'],
    ['bag-folder', ['--bits', '8', '--group', '-1', '--to', 'fewbits'], 'int8 channel sym'],
  ])('to %s', async (name, options, label) => {
    const { tensors } = await json<Report>('quantize', bag, '-o', at(name), ...options);
    const byName = new Map(tensors.map(({ name, scheme }) => [name, scheme]));
    expect([byName.get('a.weight'), byName.get('c.weight')]).toEqual([label, label]);
    expect([byName.get('a.bias'), byName.get('b.norm.weight')]).toEqual(['f32', 'f32']);
    const verified = await json<{ ok: boolean; tensors: { name: string; maxError: number }[] }>(
      'verify',
      at(name),
      '--against',
      bag,
    );
    expect(verified.ok).toBe(true);
    // Values in [-1, 1]: half a step of the grid, plus what rounding the scale to f16 does to the largest value.
    const limit = (label.startsWith('int8') ? 1 / 127.5 / 2 : 1 / 7.5 / 2) + 2 ** -11;
    for (const { name, maxError } of verified.tensors) {
      if (!name.startsWith('a.w') && !name.startsWith('c.')) expect(maxError).toBe(0);
      else expect(maxError).toBeLessThan(label === 'q4_0' ? 1 / 8 : limit);
    }
  });

  test('a file type needs roles', async () => {
    expect(await refuse(['quantize', bag, '-o', at('bag-mixed.gguf'), '--type', 'q4_k_m'])).toMatch(
      /a bag of tensors has no roles/,
    );
  });
});

describe('forward equals transformers', () => {
  const llama = golden('architectures/llama');
  const expected = join(llama, 'expected.safetensors');

  async function tensorsOf(path: string): Promise<Map<string, Float32Array>> {
    const checkpoint = await openCheckpoint(path);
    const found = new Map<string, Float32Array>();
    for (const entry of checkpoint.tensors.values())
      if (entry.type === 'f32') found.set(entry.name, toF32('f32', (await readTensor(entry)).bytes));
    await checkpoint.close();
    return found;
  }

  test.each([
    ['logits and hidden states', ['--hidden'], true],
    ['token by token', ['--step'], false],
  ])('%s', async (title, options, hidden) => {
    const out = at(`${title.replaceAll(' ', '-')}.safetensors`);
    const { shape } = await json<{ shape: number[] }>('forward', llama, '--tokens', expected, '-o', out, ...options);
    const [made, wanted] = [await tensorsOf(out), await tensorsOf(expected)];
    expect(shape).toEqual([2, 24, wanted.get('logits')!.length / 48]);
    expect([...made.keys()].sort()).toEqual(hidden ? [...wanted.keys()].sort() : ['logits']);
    for (const [name, values] of made) {
      const largest = values.reduce((max, x, i) => Math.max(max, Math.abs(x - wanted.get(name)![i]!)), 0);
      expect(largest, name).toBeLessThan(1e-4);
    }
  });

  test('an output that exists stays', async () => {
    writeFileSync(at('there.safetensors'), 'mine');
    const args = ['forward', llama, '--tokens', expected, '-o', at('there.safetensors')];
    expect(await refuse(args)).toMatch(/exists already.*--force/);
    await json(...args, '--force');
    expect(statSync(at('there.safetensors')).size).toBeGreaterThan(10_000);
  });
});

describe('a model on a web server', () => {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers.range ?? 'whole'}`);
    const file = request.url === '/model.gguf' ? at('q8.gguf') : project(`models/tinystories-3.7m${request.url?.slice(4)}`);
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    let bytes: Buffer;
    try {
      bytes = readFileSync(file);
    } catch {
      response.writeHead(404).end();
      return;
    }
    if (!range) {
      response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
      return;
    }
    const last = Math.min(Number(range[2]), bytes.length - 1);
    const part = bytes.subarray(Number(range[1]), last + 1);
    response
      .writeHead(206, { 'content-range': `bytes ${range[1]}-${last}/${bytes.length}`, 'content-length': part.length })
      .end(part);
  });
  let base = '';
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  test('inspect reads headers by ranges', async () => {
    const remote = await json<{ tensors: object[] }>('inspect', `${base}/model.gguf`);
    expect(remote.tensors).toEqual((await json<{ tensors: object[] }>('inspect', at('q8.gguf'))).tensors);
    expect(requests.length).toBeGreaterThan(0);
    expect(requests.every((line) => /bytes=\d+-\d+$/.test(line))).toBe(true);
  });

  test.each(['/model.gguf', '/hub'])('quantize %s', async (path) => {
    const local = path === '/hub' ? 'default' : at('q8.gguf');
    const [ours, theirs] = [at(`local${path.length}.gguf`), at(`remote${path.length}.gguf`)];
    await json('quantize', local, '-o', ours, '--type', 'q4_0');
    await json('quantize', base + path, '-o', theirs, '--type', 'q4_0');
    expect(await hashedTensors(theirs)).toEqual(await hashedTensors(ours));
  });
});
