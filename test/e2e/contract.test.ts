/** What scripts rely on: documents, exit codes, streams, options. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/index.ts';
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
