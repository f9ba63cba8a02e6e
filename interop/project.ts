/** Where things lie. The sources run compiled, from .build/interop and .build/bench, so nothing may count `..` from a source file. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository root: the nearest folder above with fewbits' own package.json. */
export const root = findRoot(path.dirname(fileURLToPath(import.meta.url)));

export const fewbitsCli = path.join(root, 'dist', 'cli', 'main.js');
export const interopMain = path.join(root, '.build', 'interop', 'main.js');
/** Packages of interop/ are resolved from here: they are not dependencies of the project. */
export const interopPackage = path.join(root, 'interop', 'package.json');

function findRoot(from: string): string {
  for (let folder = from; ; folder = path.dirname(folder)) {
    const file = path.join(folder, 'package.json');
    if (existsSync(file) && (JSON.parse(readFileSync(file, 'utf8')) as { name?: string }).name === 'fewbits') return folder;
    if (folder === path.dirname(folder)) throw new Error(`no package.json of fewbits above ${from}`);
  }
}
