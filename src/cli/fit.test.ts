import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { defaultModel } from '#run/embedded';
import type { Model } from '../format/index.ts';
import { open } from '../format/index.ts';
import { parameters, parseRecipe } from '../recipe/index.ts';
import { fittedRecipe, sensitivitiesFor } from './fit.ts';
import { isMeasurable } from './models.ts';
import { commandOf } from './recommend.ts';

describe('a model that this machine cannot hold twice', () => {
  let model: Model;
  const folder = mkdtempSync(join(tmpdir(), 'fit-'));
  beforeAll(async () => {
    model = await open(defaultModel);
  });
  afterAll(async () => {
    rmSync(folder, { recursive: true });
    await model.close();
  });

  test('is measured by relative errors, whoever asks, and that is said', async () => {
    const wide = 4 * parameters(model);
    expect(isMeasurable(model, 2 * wide)).toBe(false);
    expect(isMeasurable(model, 3 * wide)).toBe(true);
    const base = parseRecipe({ version: 1, container: 'gguf', layers: [0, 0] });
    const request = { name: 'default', model, base, memory: 2 * wide };
    const flags = { quiet: true, sensitivities: join(folder, 's.json') };
    expect((await sensitivitiesFor(request, flags)).unit).toBe('error');
    const fitted = await fittedRecipe(request, { ...flags, fit: { bitsPerWeight: 30 } }, { output: 'o.gguf' });
    expect(fitted.plan.warnings.at(-1)).toMatch(/too large to be run here/);
  });
});

test('the printed command is one that a shell understands, with the texts that were measured', () => {
  const command = commandOf("my models/it's.gguf", { text: 'a b.txt' }, 'gguf', { label: 'best', budget: 123 });
  const words = execFileSync('sh', ['-c', `printf '%s\\n' ${command}`], { encoding: 'utf8' })
    .trim()
    .split('\n');
  expect(words).toEqual([
    ...['fewbits', 'quantize', "my models/it's.gguf", '-o', "it's-best.gguf", '--to', 'gguf', '--fit', '123'],
    ...['--text', 'a b.txt'],
  ]);
  const known = commandOf('default', { sensitivities: 's.json' }, 'fewbits', { label: 'smallest', budget: 5 });
  expect(known).toBe('fewbits quantize default -o default-smallest --to fewbits --fit 5 --sensitivities s.json');
});
