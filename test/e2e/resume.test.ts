/** A run that is killed leaves a state from which the same command continues to the same bytes. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { writeSafetensors } from '../../src/checkpoint/safetensors/index.ts';
import { fewbits, hashes, json, listing, noise, readJson, refuse, start, temporaryFolder } from './cli.ts';

const folder = temporaryFolder();
const source = join(folder, 'source.safetensors');
const names = ['a', 'b', 'c', 'd', 'e', 'f'].map((letter) => `model.${letter}.weight`);

interface Report {
  resumed: number;
  seconds: number;
  tensors: { name: string; sqnr: number }[];
}

/** 6 matrices of 2048 x 2048 in bf16: 50 MB. */
function writeSource(): void {
  const shape = [2048, 2048];
  const tensors = names.map((name, seed) => {
    const words = new Uint32Array(noise(2048 * 2048, seed + 1).buffer);
    const bytes = new Uint8Array(Uint16Array.from(words, (word) => word >>> 16).buffer);
    return [name, { type: 'bf16' as const, shape, bytes }] as const;
  });
  writeFileSync(source, writeSafetensors(new Map(tensors)));
}

const moment = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The values of `count` random moments in [0, limit), the same on each run. */
const moments = (count: number, limit: number) => [...noise(count, 7)].map((x) => ((x + 1) / 2) * limit);

const cases = [
  { title: 'a GGUF file', kind: 'file', out: 'model.gguf', kills: 20, options: ['--type', 'q2_k'] },
  {
    title: 'a folder of shards',
    kind: 'folder',
    out: 'quantized',
    kills: 10,
    options: ['--bits', '4', '--group', '64', '--max-shard-size', '6MB', '--to', 'fewbits'],
  },
];

beforeAll(writeSource);

describe.each(cases)('$title', ({ kind, out, kills, options }) => {
  const place = (at: string) => join(folder, kind, at);
  const command = (at: string) => ['quantize', source, '-o', join(place(at), out), '--threads', '2', '--json', ...options];
  const report = kind === 'file' ? `${out}.report.json` : `${out}/report.json`;
  const reportAt = (at: string) => readJson<Report>(join(place(at), report));
  /** Killed on its way out, a run has given the output its name but may not have cleaned up. */
  const complete = (at: string) => existsSync(join(place(at), out)) && !existsSync(join(place(at), `${out}.unfinished`));
  let duration = 0;

  beforeAll(async () => {
    const began = performance.now();
    expect((await fewbits(command('whole'))).code).toBe(0);
    duration = performance.now() - began;
  });

  test(`killed at ${kills} moments: the next run ends with the same bytes and leaves nothing else`, async () => {
    const wanted = hashes(place('whole'), [report]);
    const resumed: number[] = [];
    for (const [i, delay] of moments(kills, duration).entries()) {
      const at = `kill-${i}`;
      const { child, ended } = start(command(at));
      const timer = setTimeout(() => child.kill('SIGKILL'), delay);
      const first = await ended;
      clearTimeout(timer);
      expect(first.code === 0 || first.signal === 'SIGKILL').toBe(true);
      if (!complete(at)) {
        const second = await fewbits(command(at));
        expect({ code: second.code, why: second.code ? second.stderr : '' }, `after ${delay} ms`).toEqual({ code: 0, why: '' });
        resumed.push(reportAt(at).resumed);
      }
      expect(hashes(place(at), [report]), `after ${delay} ms`).toEqual(wanted);
      expect(listing(place(at))).toEqual(listing(place('whole')));
      expect(reportAt(at).tensors).toEqual(reportAt('whole').tensors);
      rmSync(place(at), { recursive: true });
    }
    expect(resumed.length).toBeGreaterThan(kills / 2);
    expect(Math.max(...resumed)).toBeGreaterThan(0);
  }, 600_000);

  test('killed again and again, it gets there', async () => {
    let killed = 0;
    for (const part of [0.4, 0.6, 0.8]) {
      const { child, ended } = start(command('often'));
      const timer = setTimeout(() => child.kill('SIGKILL'), part * duration);
      if ((await ended).code !== 0) killed++;
      clearTimeout(timer);
      if (complete('often')) break;
    }
    expect(killed).toBeGreaterThan(0);
    if (!complete('often')) expect((await fewbits(command('often'))).code).toBe(0);
    expect(hashes(place('often'), [report])).toEqual(hashes(place('whole'), [report]));
  }, 120_000);

  test('killed between the names: what has one already is taken back, checked and named again', async () => {
    const at = 'named';
    const unfinished = join(place(at), `${out}.unfinished`);
    const journal = join(unfinished, 'journal.jsonl');
    const { child, ended } = start(command(at));
    while (!existsSync(journal) || !readFileSync(journal, 'utf8').includes('\n')) await moment(5);
    child.kill('SIGKILL');
    await ended;
    const [head] = readFileSync(journal, 'utf8').split('\n');
    expect((await fewbits(command(at))).code).toBe(0);
    mkdirSync(unfinished);
    writeFileSync(journal, `${head}\n`);
    writeFileSync(join(unfinished, 'publishing'), JSON.parse(head!).run);
    expect((await fewbits(command(at))).code).toBe(0);
    expect(hashes(place(at), [report])).toEqual(hashes(place('whole'), [report]));
    expect(listing(place(at))).toEqual(listing(place('whole')));
  });
});

describe('an unfinished output', () => {
  const out = join(folder, 'other', 'model.gguf');
  const unfinished = `${out}.unfinished`;

  /** Starts q2_k and stops it by `signal` as soon as a tile is done. */
  async function interrupted(signal: NodeJS.Signals): Promise<{ code: number | null; stderr: string }> {
    const { child, ended } = start(['quantize', source, '-o', out, '--type', 'q2_k', '--threads', '1']);
    const journal = join(unfinished, 'journal.jsonl');
    while (!existsSync(journal) || readFileSync(journal, 'utf8').split('\n').length < 4) await moment(5);
    child.kill(signal);
    return ended;
  }

  test('Ctrl-C: exit code 130, one line, no output; the same command continues', async () => {
    const { code, stderr } = await interrupted('SIGINT');
    expect(code).toBe(130);
    expect(stderr.trimEnd().split('\n').at(-1)).toBe('fewbits: interrupted; the same command continues where it stopped');
    expect(existsSync(out)).toBe(false);
    const { resumed } = await json<Report>('quantize', source, '-o', out, '--type', 'q2_k', '--threads', '2');
    expect(resumed).toBeGreaterThanOrEqual(2);
    expect(listing(join(folder, 'other'))).toEqual(['model.gguf', 'model.gguf.report.json']);
    rmSync(join(folder, 'other'), { recursive: true });
  });

  test('another recipe is refused, and the first can still go on', async () => {
    await interrupted('SIGTERM');
    const before = hashes(join(folder, 'other'));
    expect(await refuse(['quantize', source, '-o', out, '--type', 'q4_0'])).toMatch(
      /an unfinished output of another recipe lies here.*--restart/,
    );
    expect(hashes(join(folder, 'other'))).toEqual(before);
    const { resumed } = await json<Report>('quantize', source, '-o', out, '--type', 'q2_k');
    expect(resumed).toBeGreaterThan(0);
    rmSync(join(folder, 'other'), { recursive: true });
  });

  test('--restart throws it away', async () => {
    await interrupted('SIGTERM');
    const fresh = join(folder, 'fresh', 'model.gguf');
    await json('quantize', source, '-o', fresh, '--type', 'q4_0');
    const { resumed } = await json<Report>('quantize', source, '-o', out, '--type', 'q4_0', '--restart');
    expect(resumed).toBe(0);
    expect(hashes(join(folder, 'other'), ['model.gguf.report.json'])).toEqual(
      hashes(join(folder, 'fresh'), ['model.gguf.report.json']),
    );
    rmSync(join(folder, 'other'), { recursive: true });
  });

  test('bytes that were damaged between the runs are found and written again', async () => {
    await interrupted('SIGTERM');
    const file = join(unfinished, 'files', 'model.gguf');
    const bytes = readFileSync(file);
    bytes.fill(0xff, bytes.length - 100);
    bytes.fill(0x55, 4096, 4296);
    writeFileSync(file, bytes);
    await json('quantize', source, '-o', out, '--type', 'q2_k');
    const made = hashes(join(folder, 'other'), ['model.gguf.report.json']);
    expect(made).toEqual(hashes(join(folder, 'file', 'whole'), ['model.gguf.report.json']));
    rmSync(join(folder, 'other'), { recursive: true });
  });
});

test('an output of the same name that someone else made is not touched', async () => {
  const out = join(folder, 'theirs', 'model.gguf');
  mkdirSync(join(folder, 'theirs'));
  writeFileSync(out, 'theirs');
  expect(await refuse(['quantize', source, '-o', out, '--type', 'q4_0'])).toContain('the output exists already');
  expect(readFileSync(out, 'utf8')).toBe('theirs');
  expect(listing(join(folder, 'theirs'))).toEqual(['model.gguf']);
});
