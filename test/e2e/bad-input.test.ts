/**
 * Input that cannot be used: exit code 2, one line on stderr that says what, where and what to do, nothing on stdout and nothing
 * written. `refuse` checks the form; each case names what its line must say.
 */
import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { fewbits, golden, json, listing, noise, project, readJson, refuse, sha256, temporaryFolder, writeBag } from './cli.ts';

const folder = temporaryFolder();
const inputs = join(folder, 'inputs');
const outputs = join(folder, 'outputs');
const model = project('models/tinystories-3.7m');
const text = project('models/text/tinystories.valid.txt');
const tiny = golden('architectures/llama');
const at = (name: string) => join(inputs, name);
const out = (name = 'out.gguf') => join(outputs, name);

/** `quantize` of a bad input to GGUF must write nothing at all. */
async function refuseToQuantize(input: string, ...options: string[]): Promise<string> {
  const line = await refuse(['quantize', input, '-o', out(), ...(options.length ? options : ['--type', 'q8_0'])]);
  expect(listing(outputs)).toEqual([]);
  return line;
}

/** A safetensors file of this header text and this many zero bytes of data. */
function writeHeader(name: string, header: string, dataBytes: number, claimed = header.length): string {
  const bytes = Buffer.alloc(8 + header.length + dataBytes);
  bytes.writeBigUInt64LE(BigInt(claimed));
  bytes.write(header, 8);
  writeFileSync(at(name), bytes);
  return at(name);
}

/** A copy of the tiny llama folder whose configuration is changed. */
function writeModel(name: string, changes: object): string {
  mkdirSync(at(name));
  copyFileSync(join(tiny, 'model.safetensors'), join(at(name), 'model.safetensors'));
  writeFileSync(join(at(name), 'config.json'), JSON.stringify({ ...readJson<object>(join(tiny, 'config.json')), ...changes }));
  return at(name);
}

beforeAll(async () => {
  mkdirSync(inputs);
  await json('quantize', 'default', '-o', at('good.gguf'), '--type', 'q4_0');
});

beforeEach(() => {
  rmSync(outputs, { recursive: true, force: true });
  mkdirSync(outputs);
});

describe('damaged files', () => {
  const cut = (name: string, source: string, bytes: number) => {
    writeFileSync(at(name), readFileSync(source).subarray(0, bytes));
    return at(name);
  };
  const entry = (type: string, shape: string, from: number, to: number) =>
    `{"dtype":"${type}","shape":${shape},"data_offsets":[${from},${to}]}`;
  const weights = join(model, 'model.safetensors');

  test.each([
    ['safetensors cut in its data', () => cut('cut.safetensors', weights, 1_000_000), /past the end|reaches/],
    ['safetensors cut in its header', () => cut('cut-header.safetensors', weights, 500), /header/],
    ['gguf cut in its data', () => cut('cut.gguf', at('good.gguf'), 1_000_000), /past the end|reaches|ends/],
    ['gguf cut in its metadata', () => cut('cut-header.gguf', at('good.gguf'), 5000), /cannot fit in the file/],
    ['an empty file', () => cut('empty.safetensors', weights, 0), /too short|empty|header|bytes/],
    ['an empty gguf', () => cut('empty.gguf', weights, 0), /GGUF|empty|end/],
    ['a header longer than the file', () => writeHeader('long.safetensors', '{}', 0, 5000), /header/],
    ['a header of 2^60 bytes', () => writeHeader('huge.safetensors', '{}', 0, 2 ** 60), /header/],
    [
      'overlapping tensors',
      () => writeHeader('overlap.safetensors', `{"a":${entry('F32', '[2]', 0, 8)},"b":${entry('F32', '[2]', 4, 12)}}`, 12),
      /overlap|hole|begin|share/,
    ],
    [
      'a shape whose product is beyond 2^53',
      () => writeHeader('product.safetensors', `{"a":${entry('F32', '[4294967296,4294967296]', 0, 8)}}`, 8),
      /"?a"?/,
    ],
    [
      'one name twice',
      () => writeHeader('twice.safetensors', `{"a":${entry('U8', '[1]', 0, 1)},"a":${entry('U8', '[1]', 1, 2)}}`, 2),
      /twice|duplicate|same name/,
    ],
    ['an unknown dtype', () => writeHeader('dtype.safetensors', `{"a":${entry('F7', '[1]', 0, 1)}}`, 1), /dtype.*F7|F7/],
    ['a file of neither format', () => cut('text.bin', text, 100), /neither GGUF nor safetensors/],
  ])('%s', async (_, make, message) => {
    const input = make();
    expect(await refuseToQuantize(input)).toMatch(message);
    expect(await refuse(['inspect', input])).toMatch(message);
  });

  test('terminal escapes in tensor names are shown, not sent', async () => {
    const name = '\\u001b[2J\\u001b]0;owned\\u0007weight';
    const input = writeHeader('escapes.safetensors', `{"${name}":${entry('F32', '[2,32]', 0, 256)}}`, 256);
    const outcomes = [
      await fewbits(['inspect', input]),
      await fewbits(['inspect', input, '--json']),
      await fewbits(['inspect', input, 'nothing']),
      await fewbits(['plan', input, '--type', 'q8_0', '-o', 'x.gguf']),
      await fewbits(['quantize', input, '--type', 'q8_0', '-o', at('escapes.gguf')]),
      await fewbits(['verify', at('escapes.gguf'), '--against', input]),
      await fewbits(['quantize', input, '--group', '7', '-o', at('escapes')]),
    ];
    expect(outcomes.map(({ code }) => code)).toEqual([0, 0, 2, 0, 0, 0, 2]);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    for (const { stdout, stderr } of outcomes) expect(stdout + stderr).not.toMatch(/[\u0007\u001b]/);
  });
});

describe('models that do not fit together', () => {
  test.each([
    ['more layers than tensors', { num_hidden_layers: 4 }, /layers\.[23]/],
    ['another width', { hidden_size: 128 }, /embed_tokens|shape/],
    ['heads that do not divide', { num_attention_heads: 3, head_dim: undefined }, /head/],
    ['a width that is no number', { hidden_size: 'wide' }, /hidden_size/],
  ])('config.json claims %s', async (title, changes, message) => {
    const input = writeModel(title.replaceAll(' ', '-'), changes);
    expect(await refuseToQuantize(input)).toMatch(message);
  });

  test('a folder without config.json', async () => {
    mkdirSync(at('no-config'));
    copyFileSync(join(tiny, 'model.safetensors'), join(at('no-config'), 'model.safetensors'));
    expect(await refuseToQuantize(at('no-config'))).toMatch(/config\.json/);
  });

  test('config.json that is not JSON', async () => {
    cpSync(writeModel('broken-config', {}), at('broken'), { recursive: true });
    writeFileSync(join(at('broken'), 'config.json'), '{"model_type":');
    expect(await refuseToQuantize(at('broken'))).toMatch(/config\.json/);
  });

  test('a folder of pickles', async () => {
    mkdirSync(at('pickles'));
    copyFileSync(join(tiny, 'config.json'), join(at('pickles'), 'config.json'));
    copyFileSync(project('test/attacks/files/pickle.zip.pt'), join(at('pickles'), 'pytorch_model.bin'));
    expect(await refuseToQuantize(at('pickles'))).toMatch(/pickle|safetensors/);
    expect(await refuseToQuantize(join(at('pickles'), 'pytorch_model.bin'))).toMatch(/a pickle is never read/);
  });

  test('no tokenizer: text cannot be read, and a GGUF file says what it lacks', async () => {
    const input = writeModel('no-tokenizer', {});
    expect(await refuse(['evaluate', input, '--text', text])).toMatch(/no tokenizer\.json/);
    expect(await refuse(['generate', input, '--prompt', 'Once'])).toMatch(/no tokenizer\.json/);
    const quantize = ['quantize', input, '-o', out(), '--type', 'q8_0'];
    expect(await refuse(quantize)).toMatch(/no vocabulary.*--no-vocabulary/);
    const { warnings } = await json<{ warnings: string[] }>(...quantize, '--no-vocabulary');
    expect(warnings.join()).toMatch(/no vocabulary and llama\.cpp will not load it/);
  });

  test('the output of another quantizer', async () => {
    const input = writeModel('awq', { quantization_config: { quant_method: 'awq', bits: 4 } });
    expect(await refuseToQuantize(input)).toMatch(/quantized by awq/);
  });
});

describe('values', () => {
  test.each([
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['-Infinity', Number.NEGATIVE_INFINITY],
  ])('a weight that is %s is named', async (title, value) => {
    const values = noise(64 * 128, 3);
    values[10 * 128 + 5] = value;
    writeBag(at('bad-value.safetensors'), { 'x.weight': { shape: [64, 128], values } });
    const input = at('bad-value.safetensors');
    expect(await refuseToQuantize(input)).toContain(`x.weight[10, 5]: a weight is not finite (got ${title})`);
    expect(await refuseToQuantize(input, '--type', 'q4_k')).toContain('x.weight');
    expect(await refuse(['quantize', input, '-o', out('folder'), '--bits', '4'])).toContain('x.weight[10, 5]');
    expect(listing(outputs)).toEqual([]);
  });

  test('a scale beyond f16', async () => {
    writeBag(at('large.safetensors'), { 'x.weight': { shape: [2, 32], values: new Float32Array(64).fill(1e9) } });
    expect(await refuseToQuantize(at('large.safetensors'))).toMatch(/x\.weight.*beyond the range of f16/);
    expect(await refuse(['quantize', at('large.safetensors'), '-o', out('folder'), '--group', '32'])).toMatch(/x\.weight.*f16/);
    expect(listing(outputs)).toEqual([]);
  });
});

describe('places', () => {
  test('nothing at the path', async () => {
    expect(await refuseToQuantize(at('nowhere'))).toMatch(/nowhere: no such file or folder; check the path/);
    expect(await refuse(['evaluate', 'default', '--text', at('nowhere.txt')])).toMatch(/nowhere\.txt.*ENOENT/);
    expect(await refuse(['plan', 'default', '--recipe', at('nowhere.json')])).toMatch(/nowhere\.json/);
    expect(await refuse(['plan', 'default', '--type', 'q4_0', '--stats', at('nowhere.gguf')])).toMatch(/nowhere\.gguf/);
  });

  test('a link to nothing, and a circle of links', async () => {
    symlinkSync(at('nowhere'), at('dangling.gguf'));
    symlinkSync(at('circle.gguf'), at('circle.gguf'));
    expect(await refuseToQuantize(at('dangling.gguf'))).toMatch(/no such file/);
    expect(await refuseToQuantize(at('circle.gguf'))).toMatch(/circle\.gguf/);
  });

  test.skipIf(process.getuid?.() === 0)('a folder that may not be read', async () => {
    mkdirSync(at('closed'), 0o000);
    expect(await refuseToQuantize(at('closed'))).toMatch(/EACCES/);
    chmodSync(at('closed'), 0o700);
  });

  test('a server that is not there', async () => {
    expect(await refuseToQuantize('http://127.0.0.1:9/model.gguf')).toMatch(/cannot be reached/);
    expect(await refuseToQuantize('http://[bad/model.gguf')).toMatch(/not an address/);
  });

  test('an output that exists stays, byte for byte; --force replaces it', async () => {
    const there = at('existing.gguf');
    writeFileSync(there, 'mine');
    expect(await refuse(['quantize', 'default', '-o', there, '--type', 'q4_0'])).toMatch(/exists already.*--force/);
    expect(await refuse(['convert', 'default', '-o', there])).toMatch(/exists already.*--force/);
    expect(readFileSync(there, 'utf8')).toBe('mine');
    await json('quantize', 'default', '-o', there, '--type', 'q4_0', '--force');
    expect(sha256(readFileSync(there))).toBe(sha256(readFileSync(at('good.gguf'))));
  });

  test('the files of a split output count too', async () => {
    const first = at('split-00001-of-00002.gguf');
    writeFileSync(first, 'mine');
    const command = ['quantize', 'default', '-o', at('split.gguf'), '--type', 'q4_0', '--max-shard-size', '1.5MB'];
    expect(await refuse(command)).toMatch(/split-00001-of-00002\.gguf: the output exists already/);
    expect(readFileSync(first, 'utf8')).toBe('mine');
  });

  test('an output that cannot be written', async () => {
    writeFileSync(at('plain'), '');
    expect(await refuse(['quantize', 'default', '-o', join(at('plain'), 'x.gguf'), '--type', 'q4_0'])).toMatch(/ENOTDIR|EEXIST/);
  });

  // Node ignores SIGXFSZ, so that a write past the limit fails as one on a full disk does.
  test('a disk that refuses to take more', async () => {
    const full = join(folder, 'full');
    mkdirSync(full);
    const line = await refuse(['quantize', 'default', '-o', join(full, 'x.gguf'), '--type', 'q8_0'], {
      shell: 'ulimit -f 1000; exec "$@"',
    });
    expect(line).toMatch(/x\.gguf: cannot (write|reserve space for) this file \(EFBIG\)/);
    expect(listing(full)).toEqual([]);
    await json('quantize', 'default', '-o', join(full, 'x.gguf'), '--type', 'q8_0');
    expect(listing(full)).toEqual(['x.gguf', 'x.gguf.report.json']);
  });
});

describe('usage', () => {
  const cases: [string, string[], RegExp][] = [
    ['an unknown command', ['shrink', 'default'], /unknown command 'shrink'; choose one of .*quantize/],
    ['an unknown option', ['plan', 'default', '--bit', '4'], /unknown option '--bit'/],
    ['a missing argument', ['inspect'], /missing required argument 'model'/],
    ['a missing option', ['quantize', 'default'], /required option '-o, --output <out>'/],
    ['an argument too many', ['evaluate', 'default', 'other'], /too many arguments/],
    ['bits that are none', ['plan', 'default', '--bits', 'four'], /--bits.*whole number/],
    ['too many bits', ['plan', 'default', '--bits', '9'], /--bits.*at most 8/],
    ['a group of none', ['plan', 'default', '--group', '0'], /group/],
    ['a size that is none', ['plan', 'default', '--max-shard-size', 'big'], /--max-shard-size.*size such as/],
    ['an unknown type', ['plan', 'default', '--type', 'q9_z'], /q9_z.*q4_k_m/],
    ['an unknown method', ['plan', 'default', '--method', 'magic'], /no such method.*magic.*choose one of rtn/],
    ['an unknown container', ['plan', 'default', '--to', 'zip'], /no such container.*zip.*choose one of .*gguf/],
    ['an unknown range', ['plan', 'default', '--range', 'wide'], /no such range.*wide.*minmax/],
    ['a range that does not fit', ['plan', 'default', '--range', 'minmax', '--symmetric'], /minmax is asymmetric/],
    ['both symmetries', ['plan', 'default', '--symmetric', '--asymmetric'], /exclude each other/],
    ['a type and bits', ['plan', 'default', '--type', 'q4_0', '--bits', '4'], /--type/],
    [
      'a grid that GGUF lacks',
      ['plan', 'default', '--to', 'gguf', '--bits', '3', '--group', '64'],
      /GGUF has no type with this grid/,
    ],
    [
      'a group that does not divide',
      ['plan', 'default', '--group', '100'],
      /768 columns in groups of 100.*--group 64 or 32 or -1/,
    ],
    ['a pattern that matches nothing', ['plan', 'default', '--keep', 'head*'], /--keep head\* matches no tensor.*model\./],
    ['a file type that needs statistics', ['plan', 'default', '--type', 'q2_k_s'], /importance matrix.*--stats/],
    ['--max-kl without a text', ['quantize', 'default', '-o', out(), '--max-kl', '1'], /--evaluate FILE/],
    ['an unknown protocol', ['evaluate', 'default', '--protocol', 'fast'], /llama\.cpp, strided/],
    ['a context beyond the model', ['evaluate', 'default', '--context', '100000'], /context/],
    ['an unknown tensor', ['inspect', 'default', 'wte'], /no such tensor.*wte/],
    [
      'a container named by a wrong extension',
      ['quantize', 'default', '-o', out('x.bin'), '--type', 'q4_0'],
      /end its name with \.gguf/,
    ],
  ];
  test.each(cases)('%s', async (_, args, message) => {
    expect(await refuse(args)).toMatch(message);
    expect(listing(outputs)).toEqual([]);
  });

  test.each([
    ['an unknown key', { version: 1, bits: 4 }, /bits/],
    ['an unknown key in a rule', { version: 1, rules: [{ role: 'mlp', scheme: { kind: 'keep', bits: 4 } }] }, /bits.*rules\.0/],
    ['another version', { version: 2 }, /version/],
    ['a rule for everything', { version: 1, rules: [{ scheme: { kind: 'keep' } }] }, /at least one of role, name, layers/],
    [
      'a rule that matches nothing',
      { version: 1, rules: [{ role: 'q', layers: [9, 9], scheme: { kind: 'keep' } }] },
      /matches no weight matrix/,
    ],
    ['a role that does not exist', { version: 1, rules: [{ role: 'atention', scheme: { kind: 'keep' } }] }, /atention/],
    ['a list', [1, 2], /recipe/],
  ])('a recipe with %s', async (_, recipe, message) => {
    writeFileSync(at('recipe.json'), JSON.stringify(recipe));
    expect(await refuse(['plan', 'default', '--recipe', at('recipe.json')])).toMatch(message);
  });

  test('a recipe that is not JSON', async () => {
    writeFileSync(at('recipe.json'), 'bits: 4');
    expect(await refuse(['plan', 'default', '--recipe', at('recipe.json')])).toMatch(/recipe\.json: not JSON/);
  });

  test('a text that is too short', async () => {
    writeFileSync(at('short.txt'), 'Once upon a time');
    writeFileSync(at('nothing.txt'), '');
    expect(await refuse(['evaluate', 'default', '--text', at('short.txt')])).toMatch(/short|tokens/);
    expect(await refuse(['evaluate', 'default', '--text', at('nothing.txt')])).toMatch(/short|empty|tokens/);
  });

  test('a stack trace only with --debug', async () => {
    const { code, stderr } = await fewbits(['inspect', at('nowhere'), '--debug']);
    expect(code).toBe(2);
    expect(stderr.split('\n')[0]).toMatch(/^fewbits: .*no such file or folder/);
    expect(stderr).toMatch(/\n {4}at /);
  });
});
