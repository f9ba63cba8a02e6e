// Builds dist/: AssemblyScript kernels -> src/kernels/generated/wasm.ts -> TypeScript. Plain JavaScript: it runs before anything is built.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

function run(file, args) {
  const { status } = spawnSync(process.execPath, [file, ...args], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) process.exit(status ?? 1);
}

export function buildKernels() {
  const out = path.join(root, '.build', 'kernels.wasm');
  mkdirSync(path.dirname(out), { recursive: true });
  const asc = path.join(path.dirname(require.resolve('assemblyscript/package.json')), 'bin', 'asc.js');
  run(asc, [
    'src/kernels/assembly/index.ts',
    '--outFile',
    out,
    '-O3',
    '--noAssert',
    '--runtime',
    'stub',
    '--enable',
    'simd',
    '--exportRuntime',
    '--initialMemory',
    '16',
    '--maximumMemory',
    '65536',
  ]);
  const generated = path.join(root, 'src', 'kernels', 'generated');
  mkdirSync(generated, { recursive: true });
  const base64 = readFileSync(out).toString('base64');
  writeFileSync(
    path.join(generated, 'wasm.ts'),
    `// Made by scripts/build.mjs from src/kernels/assembly. Embedded, so that no bundler and no worker has to find a file.\nexport const wasm =\n  '${base64}';\n`,
  );
}

export function buildTypeScript() {
  const tsc = path.join(path.dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
  rmSync(path.join(root, 'dist'), { recursive: true, force: true });
  run(tsc, ['-p', 'tsconfig.build.json']);
  run(tsc, ['-p', 'tsconfig.tools.json']);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] !== 'typescript') buildKernels();
  if (process.argv[2] !== 'kernels') buildTypeScript();
}
