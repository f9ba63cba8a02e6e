// Everything that must hold besides the tests: types, lint and format, the floors, the published schema.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const bin = (name) => path.join(root, 'node_modules', '.bin', name);

const checks = [
  ['types', bin('tsc'), ['-p', 'tsconfig.json']],
  ['lint and format', bin('biome'), ['check', '.']],
  ['floors', process.execPath, ['scripts/check-imports.mjs']],
  ['recipe schema', process.execPath, ['scripts/schema.mjs', '--check']],
];

let failed = 0;
for (const [name, command, args] of checks) {
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit', shell: process.platform === 'win32' });
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'} ${name}`);
  if (status !== 0) failed++;
}
process.exit(failed ? 1 : 0);
