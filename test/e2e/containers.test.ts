/** What goes in and what comes out: containers, bags of tensors, token ids, models on a web server. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint, readTensor } from '../../src/checkpoint/index.ts';
import { toF32 } from '../../src/tensor/index.ts';
import { golden, hashedTensors, json, noise, project, refuse, sha256, temporaryFolder, writeBag } from './cli.ts';

interface Report {
  tensors: { name: string; scheme: string }[];
}

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const text = at('text.txt');

beforeAll(async () => {
  writeFileSync(text, readFileSync(project('models/text/tinystories.valid.txt')).subarray(0, 12_000));
  await json('quantize', 'default', '-o', at('q8.gguf'), '--type', 'q8_0');
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
