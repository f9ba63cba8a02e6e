import { expect, test } from 'vitest';
import type { Model } from '../format/types.ts';
import { spillBytes } from './memory.ts';

test('activations that memory does not hold go to the disk, twice where quantized and unquantized layers are compared', () => {
  const model = { spec: { hidden: 4096 } } as unknown as Model;
  const windows = { correct: true, context: 2048, samples: 128 };
  const states = 4 * 128 * 2048 * 4096;
  expect(spillBytes(model, { ...windows, order: 'parallel' })).toBe(states);
  expect(spillBytes(model, { ...windows, order: 'block' })).toBe(2 * states);
  expect(spillBytes(model, { ...windows, order: 'sequential', correct: false })).toBe(states);
  expect(spillBytes(model, { ...windows, order: 'block', samples: 8 })).toBe(0);
  expect(spillBytes(model, undefined)).toBe(0);
});
