import { expect, test } from 'vitest';
import { splitterAt } from './splitter.ts';

const shown = (special: string[], text: string): string =>
  splitterAt(special)(text)
    .map((run) => (run.special ? `[${run.text}]` : run.text))
    .join(',');

test.each([
  [['<s>', '</s>'], '<s>a b</s>', '[<s>],a b,[</s>]'],
  [['<a>', '<a><b>'], 'x<a><b><a>', 'x,[<a><b>],[<a>]'],
  [['<a', '<a>b!'], '<a>b', '[<a],>b'],
  [['ab', 'bc'], 'abc', '[ab],c'],
  [[], 'text', 'text'],
  [[''], 'text', 'text'],
  [['x'], '', ''],
])('%j in %j', (special, text, want) => {
  expect(shown(special, text)).toBe(want);
});

test('a hundred thousand special tokens are no burden', () => {
  const special = Array.from({ length: 100_000 }, (_, i) => `<${i}>`);
  expect(shown(special, 'a<99999>b<100000>')).toBe('a,[<99999>],b<100000>');
});
