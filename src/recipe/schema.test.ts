import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { RecipeError } from '../errors.ts';
import { parseRecipe, recipeJsonSchema } from './schema.ts';

const int4 = { kind: 'integer', bits: 4, symmetric: true, granularity: 'channel', range: 'absmax-half', scaleType: 'f16' };

describe('parseRecipe', () => {
  test('fills in what is left out', () => {
    expect(parseRecipe({ version: 1 })).toEqual({ version: 1, rules: [], keep: [], pure: false, encoder: 'exact' });
  });

  test.each([
    ['another version', { version: 2 }, /at version/],
    ['no object', 'int4', /expected object/],
    ['a misspelled key', { version: 1, schem: int4 }, /schem/],
    ['file type and scheme', { version: 1, fileType: 'q4_0', scheme: int4 }, /fileType and scheme both/],
    ['nine bits', { version: 1, scheme: { ...int4, bits: 9 } }, /at scheme.bits/],
    ['a group of 0', { version: 1, scheme: { ...int4, granularity: { group: 0 } } }, /at scheme.granularity/],
    ['an unknown range', { version: 1, scheme: { ...int4, range: 'best' } }, /at scheme.range/],
    ['an unknown storage type', { version: 1, scheme: { kind: 'storage', type: 'q9' } }, /not a storage type.*at scheme.type/],
    ['a rule for nothing', { version: 1, rules: [{ scheme: int4 }] }, /at least one of role, name, layers at rules.0/],
    ['a pattern without end', { version: 1, keep: ['*'.repeat(1001)] }, /at keep.0/],
    [
      'two rotations',
      { version: 1, transforms: [{ kind: 'quarot', queryKey: true }, { kind: 'awq' }, { kind: 'quarot', queryKey: true }] },
      /a transform is named twice at transforms/,
    ],
    ['layers below 0', { version: 1, rules: [{ layers: [-1, 0], scheme: int4 }] }, /at rules.0.layers.0/],
  ])('refuses %s and says where', (_, recipe, message) => {
    expect(() => parseRecipe(recipe)).toThrow(RecipeError);
    expect(() => parseRecipe(recipe)).toThrow(message);
  });

  test('keys that look like prototypes do nothing', () => {
    const hostile = JSON.parse('{"version":1,"__proto__":{"pure":true}}') as unknown;
    try {
      expect(parseRecipe(hostile).pure).toBe(false);
    } catch (error) {
      expect(error).toBeInstanceOf(RecipeError);
    }
    expect(({} as { pure?: boolean }).pure).toBeUndefined();
  });
});

test('the published schema is made from the code', () => {
  const published = JSON.parse(readFileSync(new URL('../../schema/recipe.schema.json', import.meta.url), 'utf8')) as unknown;
  expect(published).toEqual(JSON.parse(JSON.stringify(recipeJsonSchema())));
});
