import { describe, expect, test } from 'vitest';
import { quantizeMatrix, quantizeRows } from '../quantize/index.ts';
import { integerForm } from '../quantize/kinds/integer.ts';
import type { IntegerScheme } from '../quantize/scheme.ts';
import { packTile, unpackTile } from './packings.ts';
import { randomValues } from './synthetic.fixture.ts';
import { fieldSizes, fieldType, tileLabel } from './tile-fields.ts';

const rows = 6;
const cols = 48;
const x = randomValues(rows * cols, 7).map((value, i) => value + (i % 5 === 0 ? 0.1 : 0));

const schemes: IntegerScheme[] = [];
for (let bits = 1; bits <= 8; bits++) {
  for (const granularity of ['tensor', 'channel', { group: 16 }, { group: 3 }] as const) {
    for (const scaleType of ['f16', 'bf16', 'f32'] as const) {
      const common = { kind: 'integer', bits, granularity, scaleType } as const;
      schemes.push(
        { ...common, symmetric: true, range: 'absmax-half' },
        { ...common, symmetric: true, range: 'absmax-half', signed: false },
        { ...common, symmetric: false, range: 'minmax' },
        { ...common, symmetric: false, range: 'minmax', signed: true },
        { ...common, symmetric: false, range: 'minmax', zero: 'float' },
      );
    }
  }
}

describe('every grid, granularity, scale and zero', () => {
  test.each(schemes.map((scheme) => ({ scheme, label: JSON.stringify(scheme) })))('$label', ({ scheme }) => {
    const { tile } = quantizeMatrix(x, [rows, cols], scheme);
    const form = integerForm(scheme);
    const fields = packTile(tile, form);
    for (const [key, { rowBytes, whole }] of Object.entries(fieldSizes(form, cols))) {
      expect(fields[key]!.length, key).toBe(whole ?? rows * rowBytes);
    }
    const back = unpackTile(form, fields, { rows, cols, from: 0, to: rows });
    expect(back.codes).toEqual(tile.codes);
    expect(back.scale!.values).toEqual(tile.scale!.values);
    expect(back.scale!.per).toEqual(tile.scale!.per);
    expect(back.grid).toEqual(tile.grid);
    expect(back.zero?.kind).toBe(tile.zero?.kind);
    if (tile.zero) expect([...back.zero!.levels.values]).toEqual([...tile.zero.levels.values].map((zero) => zero + 0));
  });
});

test('any rows can be packed and unpacked by themselves', () => {
  const scheme = {
    kind: 'integer',
    bits: 3,
    symmetric: false,
    range: 'minmax',
    granularity: { group: 16 },
    scaleType: 'f16',
  } as const;
  const form = integerForm(scheme);
  const whole = packTile(quantizeMatrix(x, [rows, cols], scheme).tile, form);
  const place = { name: 'm', shape: [rows, cols], from: 2, to: 5 } as const;
  const part = packTile(quantizeRows(x.subarray(2 * cols, 5 * cols), place, scheme), form);
  for (const [key, { rowBytes }] of Object.entries(fieldSizes(form, cols)))
    expect(part[key]).toEqual(whole[key]!.slice(2 * rowBytes, 5 * rowBytes));
});

test('fields and their names', () => {
  const form = integerForm({
    kind: 'integer',
    bits: 3,
    symmetric: false,
    range: 'minmax',
    granularity: { group: 16 },
    scaleType: 'bf16',
  });
  expect(fieldSizes(form, 48)).toEqual({ codes: { rowBytes: 18 }, scale: { rowBytes: 6 }, zero: { rowBytes: 2 } });
  expect(['codes', 'scale', 'zero'].map((key) => fieldType(form, key))).toEqual(['u8', 'bf16', 'u8']);
  expect(tileLabel(form)).toBe('int3 g16 asym');
});
