// Writes schema/recipe.schema.json from the recipe's zod schema; --check only says whether it is current.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { recipeJsonSchema } from '../dist/recipe/index.js';

const file = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'schema', 'recipe.schema.json');
const text = `${JSON.stringify(recipeJsonSchema(), null, 2)}\n`;
if (process.argv.includes('--check')) {
  const current = existsSync(file) && readFileSync(file, 'utf8') === text;
  if (!current) console.error('schema/recipe.schema.json is not what the source says: run node scripts/schema.mjs');
  process.exit(current ? 0 : 1);
}
mkdirSync(path.dirname(file), { recursive: true });
writeFileSync(file, text);
