// Holds the floors of src/: nothing imports upward, platform code lives in twins, and nothing but the command line touches Node.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseSync } from 'oxc-parser';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** Ground first. A file may import its own floor and the floors before it. Files directly in src/ are ground, but for index.ts. */
const floors = [
  'numeric',
  'tensor',
  'kernels',
  'io',
  'checkpoint',
  'quantized',
  'model',
  'tokenizer',
  'quantize',
  'hardware',
  'format',
  'graph',
  'evaluate',
  'recipe',
  'run',
  'cli',
];

/** Floors that may use node: modules outside of *.node.ts files. */
const nodeFloors = new Set(['cli']);

const problems = [];
const files = readdirSync(path.join(root, 'src'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
  .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, '/'))
  .filter((file) => !file.startsWith('src/kernels/assembly/') && !file.startsWith('src/kernels/generated/'));

for (const file of files) {
  const { module, errors } = parseSync(file, readFileSync(path.join(root, file), 'utf8'));
  for (const error of errors) problems.push(`${file}: ${error.message}`);
  const specifiers = [
    ...module.staticImports.map((one) => one.moduleRequest.value),
    ...module.staticExports.flatMap((one) => one.entries.flatMap((entry) => entry.moduleRequest?.value ?? [])),
    ...module.dynamicImports.map((one) =>
      readFileSync(path.join(root, file), 'utf8')
        .slice(one.moduleRequest.start, one.moduleRequest.end)
        .replace(/^['"`]|['"`]$/g, ''),
    ),
  ];
  for (const specifier of new Set(specifiers)) check(file, specifier);
}

function floorOf(file) {
  const [, folder, ...rest] = file.split('/');
  return rest.length === 0 ? (folder === 'index.ts' ? floors.length : -1) : floors.indexOf(folder);
}

function check(file, specifier) {
  const isTest = file.endsWith('.test.ts');
  const own = floorOf(file);
  if (own === -1 && file.split('/').length > 2)
    problems.push(`${file}: its folder is not a floor; add it to scripts/check-imports.mjs`);
  if (specifier.startsWith('node:')) {
    const allowed = isTest || file.endsWith('.node.ts') || nodeFloors.has(floors[own]);
    if (!allowed) problems.push(`${file} imports ${specifier}: platform code belongs into a *.node.ts twin`);
    return;
  }
  const target = specifier.startsWith('#')
    ? `src/${specifier.slice(1)}.ts`
    : specifier.startsWith('.')
      ? path.posix.join(path.posix.dirname(file), specifier)
      : undefined;
  if (target === undefined || isTest) return;
  if (!specifier.startsWith('#') && /\.(node|browser)\.ts$/.test(target))
    problems.push(`${file} imports a twin by name: use its # import`);
  if (floorOf(target) > own) problems.push(`${file} imports upward: ${specifier}`);
}

for (const problem of problems) console.error(problem);
console.log(problems.length ? `${problems.length} problems with imports` : `${files.length} files import downward only`);
process.exitCode = problems.length ? 1 : 0;
