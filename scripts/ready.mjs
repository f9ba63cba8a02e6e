// Makes a fresh clone ready: installs when node_modules is missing or older than package-lock.json, builds when dist/ is older than the sources.
// Plain JavaScript without dependencies: it runs before anything is installed.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => path.join(root, ...parts);
const read = (file) => (existsSync(file) ? readFileSync(file, 'utf8') : '');

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`fewbits needs Node 20.19 or later (got ${process.versions.node}); install it from https://nodejs.org`);
  process.exit(2);
}

/** Runs `make` unless `stamp` holds `key` already. */
function once(stamp, key, make) {
  if (read(stamp) === key) return;
  make();
  mkdirSync(path.dirname(stamp), { recursive: true });
  writeFileSync(stamp, key);
}

function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env },
    shell: process.platform === 'win32' && command === 'npm',
  });
  if (error || status !== 0) {
    console.error(`fewbits: ${command} ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`);
    process.exit(2);
  }
}

function hash(files) {
  const sum = createHash('sha256');
  for (const file of files) sum.update(path.relative(root, file)).update('\0').update(readFileSync(file));
  return sum.digest('hex');
}

function walk(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

// npm ci never touches package-lock.json; the stamp lies inside node_modules, so that removing the folder installs again.
once(at('node_modules', '.fewbits-installed'), hash([at('package.json'), at('package-lock.json')]), () => {
  console.error('fewbits: installing dependencies...');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { ONNXRUNTIME_NODE_INSTALL: 'skip' });
});

const built = existsSync(at('dist', 'cli', 'main.js')) && existsSync(at('src', 'kernels', 'generated', 'wasm.ts'));
const generated = at('src', 'kernels', 'generated');
const sources = ['src', 'bench', 'interop']
  .flatMap((folder) => walk(at(folder)))
  .filter(
    (file) =>
      /\.(ts|json|proto)$/.test(file) && !file.startsWith(generated) && !file.includes(`${path.sep}node_modules${path.sep}`),
  );
const inputs = [
  ...sources,
  at('scripts', 'build.mjs'),
  at('package-lock.json'),
  ...readdirSync(root)
    .filter((name) => /^tsconfig.*\.json$/.test(name))
    .map((name) => at(name)),
];
if (!built) rmSync(at('.build', 'stamp'), { force: true });
once(at('.build', 'stamp'), hash(inputs), () => {
  console.error('fewbits: building...');
  run(process.execPath, [at('scripts', 'build.mjs')]);
});
