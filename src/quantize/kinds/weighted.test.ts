import { expect, test } from 'vitest';
import { Random } from '../../numeric/random.ts';
import { dequantizeTile } from '../dequantize.ts';
import type { WeightScheme } from '../scheme.ts';
import { encodeRows, schemeNeeds, surveyScheme } from './encode.ts';

const [rows, cols] = [16, 64];
const random = new Random(5);
const x = Float32Array.from({ length: rows * cols }, () => random.gaussian());
const meansquare = Float32Array.from({ length: cols }, (_, c) => (c % 5 === 0 ? 200 : 0.5));
const place = { name: 'w', shape: [rows, cols] as const, from: 0, to: rows };
const encoded = (scheme: WeightScheme, inputs: object) =>
  encodeRows(x, place, scheme, inputs, surveyScheme(x, place, scheme, inputs));
const loss = (scheme: WeightScheme, inputs: object) =>
  dequantizeTile(encoded(scheme, inputs)).reduce((sum, value, i) => sum + meansquare[i % cols]! * (value - x[i]!) ** 2, 0);

const schemes: WeightScheme[] = [
  { kind: 'mx', element: 'e2m1', exponent: 'best' },
  { kind: 'nvfp4', scale: 'four-over-six' },
  { kind: 'nvfp4', scale: 'search' },
];

test.each(schemes)('$kind $exponent$scale: codes depend on statistics only where the scheme says so', (scheme) => {
  expect(schemeNeeds(scheme)).toEqual([]);
  const plain = encoded(scheme, {});
  expect(encoded(scheme, { meansquare }).codes).toEqual(plain.codes);
  expect(encoded(scheme, { meansquare }).scale!.values).toEqual(plain.scale!.values);
  const weighted = { ...scheme, weighted: true } as WeightScheme;
  expect(schemeNeeds(weighted)).toEqual(['meansquare']);
  expect(loss(weighted, { meansquare })).toBeLessThan(0.98 * loss(scheme, {}));
});
