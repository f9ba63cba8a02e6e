/** Runs the built command line as a user would: a process of its own, everything through arguments, files and exit codes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect } from 'vitest';
import { openCheckpoint, readTensor } from '../../src/checkpoint/index.ts';
import { writeSafetensors } from '../../src/checkpoint/safetensors/index.ts';
import type { StorageType } from '../../src/tensor/storage.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';

const root = new URL('../../', import.meta.url);
/** A path of the project. */
export const project = (path: string): string => fileURLToPath(new URL(path, root));
export const golden = (path: string): string => project(`test/golden/${path}`);
const main = project('dist/cli/main.js');

export interface Outcome {
  /** Exit code; null when a signal ended the process. */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Start {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** A shell line that starts the program, `"$@"` being its command: 'ulimit -f 100; exec "$@"'. */
  shell?: string;
}

/** Starts the command line and leaves it running. */
export function start(
  args: readonly string[],
  { cwd, env, shell }: Start = {},
): { child: ChildProcess; ended: Promise<Outcome> } {
  if (!existsSync(main)) throw new Error('dist/ is missing: run npm run build');
  const command = [process.execPath, main, ...args];
  const [file, ...rest] = shell === undefined ? command : ['bash', '-c', shell, 'bash', ...command];
  // vitest sets these for its own processes; a user's shell does not.
  const { NODE_OPTIONS: _, VITEST: __, FORCE_COLOR: ___, ...outer } = process.env;
  const child = spawn(file!, rest, { cwd, env: { ...outer, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.setEncoding('utf8').on('data', (part: string) => {
      text[name] += part;
    });
  }
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.on('error', reject).on('close', (code, signal) => resolve({ code, signal, ...text }));
  });
  return { child, ended };
}

export async function fewbits(args: readonly string[], options?: Start): Promise<Outcome> {
  return start(args, options).ended;
}

/** Runs a command that must succeed; returns what it prints. */
export async function succeed(...args: string[]): Promise<string> {
  const { code, signal, stdout, stderr } = await fewbits(args);
  expect({ code, signal, why: code === 0 ? '' : stderr }, `fewbits ${args.join(' ')}`).toEqual({
    code: 0,
    signal: null,
    why: '',
  });
  return stdout;
}

/** Runs a command with --json that must succeed: stdout is one document. */
export async function json<T>(...args: string[]): Promise<T> {
  return JSON.parse(await succeed(...args, '--json')) as T;
}

/** Runs a command that must refuse its input: exit code 2, nothing on stdout, one line on stderr. Returns that line. */
export async function refuse(args: readonly string[], options?: Start): Promise<string> {
  const { code, stdout, stderr } = await fewbits([...args, '--quiet'], options);
  expect({ code, stdout, lines: stderr.split('\n').length - 1, stderr }, `fewbits ${args.join(' ')}`).toMatchObject({
    code: 2,
    stdout: '',
    lines: 1,
  });
  expect(stderr).toMatch(/^fewbits: [^\n]+\n$/);
  expect(stderr).not.toContain('internal error');
  return stderr;
}

/** A folder that is removed when the tests of the file have run. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'fewbits-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** All files below a folder, sorted. */
export function listing(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/** sha256 of a file, or of every file of a folder by name. */
export function hashes(path: string, except: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    listing(path)
      .filter((name) => !except.includes(name))
      .map((name) => [name, sha256(readFileSync(join(path, name)))]),
  );
}

export function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, 'utf8')) as T;
}

export interface HashedTensor {
  name: string;
  type: StorageType;
  shape: readonly number[];
  sha256: string;
}

/** Name, type, shape and hash of each tensor of a file, in its order. */
export async function hashedTensors(path: string): Promise<HashedTensor[]> {
  const checkpoint = await openCheckpoint(path);
  try {
    const found: HashedTensor[] = [];
    for (const entry of checkpoint.tensors.values()) {
      const { bytes } = await readTensor(entry);
      found.push({ name: entry.name, type: entry.type, shape: entry.shape, sha256: sha256(bytes) });
    }
    return found;
  } finally {
    await checkpoint.close();
  }
}

/** Writes tensors of f32 values as a bag of tensors. */
export function writeBag(
  path: string,
  tensors: Readonly<Record<string, { shape: readonly number[]; values: Float32Array }>>,
): void {
  const made = Object.entries(tensors).map(([name, { shape, values }]): [string, Tensor] => [
    name,
    { type: 'f32', shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) },
  ]);
  writeFileSync(path, writeSafetensors(new Map(made)));
}

/** Numbers in [-1, 1) from a seed: the same on every machine (a linear congruential generator of Numerical Recipes). */
export function noise(count: number, seed: number): Float32Array {
  const values = new Float32Array(count);
  let state = seed >>> 0;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = state / 2 ** 31 - 1;
  }
  return values;
}
