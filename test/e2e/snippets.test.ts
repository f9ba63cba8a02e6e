/** The TypeScript that README.md and docs/ show: it compiles against the built package, and what docs/ shows also runs. */
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';
import { project, temporaryFolder } from './cli.ts';

const execute = promisify(execFile);
// Below the project, so that 'fewbits' is the project itself.
const sources = project('.build/snippets');
const folder = temporaryFolder();

const documents = ['README.md', ...readdirSync(project('docs')).map((name) => `docs/${name}`)];
const snippets = documents.flatMap((document) =>
  [...readFileSync(project(document), 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code], i) => ({
    name: `${document.replace(/\W/g, '-')}-${i}`,
    document,
    code: code!,
  })),
);
// The text of the README's example stands for a longer one.
const runnable = snippets.filter(({ document }) => document.startsWith('docs/'));

beforeAll(async () => {
  rmSync(sources, { recursive: true, force: true });
  mkdirSync(sources, { recursive: true });
  for (const { name, code } of snippets) writeFileSync(join(sources, `${name}.ts`), code);
  const compilerOptions = {
    ...{ noEmit: false, noUnusedLocals: false, rootDir: '.', outDir: 'out' },
    paths: { fewbits: ['../../dist/index.d.ts'], 'fewbits/*': ['../../dist/*/index.d.ts'] },
  };
  writeFileSync(
    join(sources, 'tsconfig.json'),
    JSON.stringify({ extends: '../../tsconfig.json', compilerOptions, include: ['*.ts'] }),
  );
  // What the examples call their model and their text.
  mkdirSync(join(folder, 'path', 'to'), { recursive: true });
  symlinkSync(project('models/tinystories-3.7m'), join(folder, 'path', 'to', 'model'));
  copyFileSync(project('models/text/tinystories.train.txt'), join(folder, 'my.txt'));
});

test('they compile', async () => {
  expect(snippets.map(({ document }) => document)).toEqual(
    expect.arrayContaining(['README.md', 'docs/calibration.md', 'docs/ranges.md']),
  );
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
  const { stdout } = await execute(process.execPath, [tsc, '-p', sources]).catch((error: { stdout: string }) => error);
  expect(stdout).toBe('');
});

test.each(runnable)('$name runs', async ({ name }) => {
  const { stderr } = await execute(process.execPath, [join(sources, 'out', `${name}.js`)], { cwd: folder });
  expect(stderr).toBe('');
});
