import { describe, expect, test } from 'vitest';
import { globMatch } from './glob.ts';

describe('globMatch', () => {
  test.each([
    ['*', '', true],
    ['', '', true],
    ['', 'a', false],
    ['*.layers.0.*', 'model.layers.0.mlp.weight', true],
    ['*.layers.0.*', 'model.layers.10.mlp.weight', false],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['lm_head*', 'lm_head.weight', true],
    ['*.weight', 'a.weight.weight', true],
    ['*a*b', 'xxaxxbxxb', true],
    ['*a*b', 'xxbxxa', false],
    ['blk.[01].*', 'blk.1.ffn', true],
    ['blk.[01].*', 'blk.2.ffn', false],
    ['*[ab]c', 'xxac', true],
    ['[[]x[*][?]', '[x*?', true],
    ['[[]x', 'x', false],
    ['[]]', ']', true],
    ['open[ended', 'open[ended', true],
    ['a**b', 'ab', true],
    ['?', '', false],
    ['a.b', 'axb', false],
  ])('%s on %s: %s', (pattern, name, matches) => {
    expect(globMatch(pattern, name)).toBe(matches);
  });

  test.each([
    ['stars', `${'*a'.repeat(500)}b`],
    ['one star, long tail', `*${'a'.repeat(998)}b`],
    ['classes', `*${'[a]'.repeat(300)}[b]`],
    ['open brackets', `*${'['.repeat(999)}`],
  ])('hostile %s take name x pattern steps', (_, pattern) => {
    const started = performance.now();
    expect(globMatch(pattern, 'a'.repeat(10_000))).toBe(false);
    expect(performance.now() - started).toBeLessThan(2000);
  });
});
