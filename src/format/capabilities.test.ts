import { describe, expect, test } from 'vitest';
import { type IntegerScheme, isPlainInteger, type WeightScheme } from '../quantize/scheme.ts';
import { containers } from './registry.ts';
import type { Container } from './types.ts';

const shape = [256, 256];
const plain: IntegerScheme = {
  kind: 'integer',
  bits: 8,
  symmetric: true,
  granularity: 'channel',
  range: 'absmax-half',
  scaleType: 'f16',
};
const input = { bits: 8, symmetric: true, dynamic: true, per: 'token' } as const;

/** All that a scheme can ask for besides its grid, except rounding, which no reader has to know of. */
const extras: Readonly<Record<string, Partial<IntegerScheme>>> = {
  'outliers kept apart': { split: { sparse: { share: 0.01, by: 'magnitude' } } },
  'columns kept apart': { split: { columns: { count: 2 } } },
  'a correction': { split: { lowRank: { rank: 2, weighted: false } } },
  'factors of columns': { balance: 'sinkhorn' },
  'nested scales': { granularity: { group: 64 }, nested: { bits: 4, per: 'row' } },
  'inputs token by token': { input },
  'inputs by the tensor': { input: { ...input, per: 'tensor' } },
  'inputs in groups': { input: { ...input, per: { group: 64 } } },
  'inputs of 4 bits': { input: { ...input, bits: 4 } },
  'asymmetric inputs': { input: { ...input, symmetric: false } },
  'inputs as floats': { input: { ...input, float: 'e4m3' } },
  'outliers of inputs': { input: { ...input, threshold: 6 } },
  'static inputs': { input: { ...input, per: 'tensor', dynamic: false } },
  'static asymmetric inputs': { input: { ...input, per: 'tensor', symmetric: false, dynamic: false } },
  'static inputs by channel': { input: { ...input, per: 'channel', dynamic: false } },
};

/** What each container has to be able to write down; the others have to refuse it. */
const able: Readonly<Record<string, readonly string[]>> = {
  fewbits: Object.keys(extras),
  'compressed-tensors': ['inputs token by token', 'inputs by the tensor', 'static inputs', 'static asymmetric inputs'],
};

describe.each(Object.values(containers) as Container[])('$name', (container) => {
  test.each(Object.entries(extras))('%s', (name, extra) => {
    const reason = container.refuses({ ...plain, ...extra }, shape);
    if (able[container.name]?.includes(name)) expect(reason).toBeUndefined();
    else expect(reason).toEqual(expect.any(String));
  });

  test('what it can hold without them it refuses for their sake alone', () => {
    if (container.refuses(plain, shape) !== undefined) return;
    for (const [name, extra] of Object.entries(extras)) {
      const scheme: WeightScheme = { ...plain, ...extra };
      const reason = container.refuses(scheme, shape);
      if (reason === undefined) continue;
      const word = isPlainInteger(scheme) ? /activations|columns of an input/ : /split|balance|nested/;
      expect(reason, name).toMatch(word);
    }
  });
});
