import { describe, expect, test } from 'vitest';
import { FormatError } from '../errors.ts';
import { parseJsonObject } from './json.ts';

const parse = (text: string) => parseJsonObject(text, 'config.json');

describe('strict JSON', () => {
  test.each([
    '{}',
    ' { "a" : [ ] , "b" : { } } \n',
    '{"n":[0,-0,1.5,-2e10,1E-5,123456789],"s":"\\u00e9\\n\\"\\\\\\/","t":true,"f":false,"z":null}',
    '{"constructor":1,"toString":{"a":[[[1]]]},"1":2,"":"empty"}',
  ])('%s', (text) => {
    expect(JSON.stringify(parse(text))).toBe(JSON.stringify(JSON.parse(text)));
  });

  test('numbers that only Python writes', () => {
    expect(parse('{"a":[NaN,Infinity,-Infinity]}')['a']).toEqual([
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ]);
  });

  test('objects have no prototype', () => {
    expect(parse('{"a":1}')['constructor']).toBeUndefined();
  });

  test.each([
    ['', /expected/],
    ['[]', /object was expected/],
    ['{"a":1}x', /after the end/],
    ['{"a":1,}', /string was expected/],
    ["{'a':1}", /string was expected/],
    ['{"a":01}', /expected/],
    ['{"a":+1}', /value was expected/],
    ['{"a":.5}', /value was expected/],
    ['{"a":"\n"}', /control character/],
    ['{"a":"\\x"}', /unknown escape/],
    ['{"a":"b', /does not end/],
    ['{"a\\"', /does not end/],
    ['{"a":1,"a":1}', /same key twice/],
    ['{"a":{"b":1,"\\u0062":1}}', /same key twice/],
    ['{"__proto__":{"polluted":1}}', /not allowed/],
    ['{"a":"\\ud800"}', /surrogate/],
    [`{"a":${'['.repeat(100_000)}`, /nested deeper/],
    [`{"a":${'{"a":'.repeat(100_000)}`, /nested deeper/],
  ])('%.30s is refused', (text, reason) => {
    expect(() => parse(text)).toThrow(reason);
    expect(() => parse(text)).toThrow(FormatError);
  });

  test('a string of ten million characters needs no stack', () => {
    const text = 'ab\\n'.repeat(2_500_000);
    expect(String(parse(`{"a":"${text}"}`)['a']).length).toBe(7_500_000);
  });
});
