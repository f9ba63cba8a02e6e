/** What npm publishes: it installs elsewhere and runs there, with and without the optional native runtime. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { hashedTensors, json, project, temporaryFolder } from './cli.ts';

const folder = temporaryFolder();
const execute = promisify(execFile);
const npmEnvironment = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip', NO_COLOR: '1' };

async function npm(cwd: string, ...args: string[]): Promise<string> {
  const { stdout } = await execute('npm', [...args, '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd,
    env: npmEnvironment,
  });
  return stdout;
}

/** Packs the project and installs the tarball into an empty folder; undefined when npm reaches no registry. */
async function install(name: string, ...options: string[]): Promise<string | undefined> {
  const at = join(folder, name);
  mkdirSync(at);
  writeFileSync(join(at, 'package.json'), JSON.stringify({ name, private: true, type: 'module' }));
  const tarball = readdirSync(folder).find((file) => file.endsWith('.tgz'))!;
  try {
    await npm(at, 'install', join('..', tarball), ...options);
    return at;
  } catch (error) {
    if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENOTCACHED/.test(String(error))) return undefined;
    throw error;
  }
}

/** A command of the installed package. */
const installed = (cwd: string, ...args: string[]) =>
  execute(join(cwd, 'node_modules', '.bin', 'fewbits'), args, { cwd, env: npmEnvironment });

beforeAll(async () => {
  // The build that the tests run with is the one that is packed.
  await npm(project('.'), 'pack', '--ignore-scripts', '--pack-destination', folder);
}, 60_000);

test('the tarball holds the program, the model and the schema, and no tests', async () => {
  const [{ files }] = JSON.parse(await npm(project('.'), 'pack', '--ignore-scripts', '--dry-run', '--json')) as [
    { files: { path: string }[] },
  ];
  const names = files.map(({ path }) => path);
  expect(names).toEqual(
    expect.arrayContaining([
      ...['package.json', 'LICENSE', 'dist/cli/main.js', 'dist/index.js', 'dist/index.d.ts', 'schema/recipe.schema.json'],
      ...['models/tinystories-3.7m/model.safetensors', 'models/tinystories-3.7m/README.md', 'models/text/LICENSE.md'],
    ]),
  );
  expect(names.filter((name) => /(\.test\.|\.fixture\.|^test\/|^src\/|node_modules)/.test(name))).toEqual([]);
});

describe.each([
  { name: 'with-native', options: [], native: true },
  { name: 'without-optional', options: ['--omit=optional'], native: false },
])('installed $name', ({ name, options, native }) => {
  let at: string | undefined;
  beforeAll(async () => {
    at = await install(name, ...options);
  }, 120_000);

  test('onnxruntime-node is there only when it is wanted', (context) => {
    if (!at) return context.skip('npm reaches no registry');
    expect(existsSync(join(at, 'node_modules', 'onnxruntime-node'))).toBe(native);
    expect(existsSync(join(at, 'node_modules', 'onnxruntime-web'))).toBe(true);
  });

  test('inspect and quantize', async (context) => {
    if (!at) return context.skip('npm reaches no registry');
    const { parameters } = JSON.parse((await installed(at, 'inspect', 'default', '--json')).stdout);
    expect(parameters).toBe(3_672_320);
    await installed(at, 'quantize', 'default', '-o', 'x.gguf', '--type', 'q4_0');
    await json('quantize', 'default', '-o', join(folder, `${name}.gguf`), '--type', 'q4_0');
    expect(await hashedTensors(join(at, 'x.gguf'))).toEqual(await hashedTensors(join(folder, `${name}.gguf`)));
  });

  test('evaluate: one line says when it computes in WebAssembly', async (context) => {
    if (!at) return context.skip('npm reaches no registry');
    writeFileSync(join(at, 'text.txt'), readFileSync(project('models/text/tinystories.valid.txt')).subarray(0, 3000));
    const { stdout, stderr } = await installed(at, 'evaluate', 'default', '--text', 'text.txt', '--context', '128', '--json');
    const { perplexity } = JSON.parse(stdout) as { perplexity: number };
    const lines = stderr.split('\n').filter((line) => line.includes('WebAssembly'));
    expect(lines.length).toBe(native ? 0 : 1);
    const here = await json<{ perplexity: number }>(
      ...['evaluate', 'default', '--text', join(at, 'text.txt'), '--context', '128'],
    );
    expect(Math.abs(perplexity / here.perplexity - 1)).toBeLessThan(1e-5);
  });

  test('the library and its subpaths', async (context) => {
    if (!at) return context.skip('npm reaches no registry');
    const { exports } = JSON.parse(readFileSync(project('package.json'), 'utf8')) as { exports: Record<string, string> };
    const subpaths = Object.keys(exports).filter((path) => !path.endsWith('.json'));
    const program = `
      import { open, plan, run, diskStore, recipeFromOptions } from 'fewbits';
      import { readGguf } from 'fewbits/gguf';
      for (const path of ${JSON.stringify(subpaths)}) await import(path.replace('.', 'fewbits'));
      const model = await open('node_modules/fewbits/models/tinystories-3.7m');
      const planned = await plan(model, recipeFromOptions({ type: 'q8_0' }, 'model', 'y.gguf'), { output: 'y.gguf' });
      const report = await run(planned, diskStore('.'), { threads: 2 });
      await model.close();
      console.log(JSON.stringify({ bytes: report.bytes, planned: planned.bytes, gguf: typeof readGguf, paths: ${subpaths.length} }));
    `;
    writeFileSync(join(at, 'program.js'), program);
    const { stdout } = await execute(process.execPath, ['program.js'], { cwd: at });
    const { bytes, planned, gguf, paths } = JSON.parse(stdout);
    expect({ gguf, paths }).toEqual({ gguf: 'function', paths: subpaths.length });
    expect(bytes).toBe(planned);
    expect(readFileSync(join(at, 'y.gguf')).length).toBe(bytes);
  });
});
