import { describe, expect, test } from 'vitest';
import { FormatError } from '../errors.ts';
import { dequantizeTile, quantizeMatrix, quantizeRows } from '../quantize/index.ts';
import { encodeRows, schemeForm, surveyScheme } from '../quantize/kinds/encode.ts';
import { integerForm } from '../quantize/kinds/integer.ts';
import type { IntegerScheme, SchemeExtras, TableScheme, WeightScheme } from '../quantize/scheme.ts';
import { tableNames } from '../quantize/scheme.ts';
import type { TileForm } from '../quantized/form.ts';
import type { Levels } from '../quantized/types.ts';
import { rowStart } from './field-ranges.ts';
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

test('a code beyond a list is refused, whatever the row', () => {
  const form: TileForm = { grid: { kind: 'table', values: [-1, 0, 1] }, scale: { stored: 'f32', group: 0 } };
  const range = { name: 'w', rows: 2, cols: 8, from: 0, to: 2 };
  const fields = (last: number) => ({
    codes: Uint8Array.of(0b10_01_00_10, 0b00_00_00_00, 0b01_01_01_01, last),
    scale: new Uint8Array(Float32Array.of(2, 3).buffer),
  });
  const back = dequantizeTile(unpackTile(form, fields(0b10_00_00_00), range));
  expect([...back]).toEqual([2, -2, 0, 2, -2, -2, -2, -2, 0, 0, 0, 0, -3, -3, -3, 3]);
  expect(() => unpackTile(form, fields(0b11_00_00_00), range)).toThrow(FormatError);
  expect(() => unpackTile(form, fields(0b11_00_00_00), range)).toThrow(/w: a code stands for no value.*got 3, limit 2/);
});

describe('every kind with everything that is kept apart', () => {
  const [height, width] = [7, 96];
  const place = { name: 'm', shape: [height, width] as const, from: 0, to: height };
  // A row of zeros, a column of zeros, values that differ by magnitudes.
  const values = randomValues(height * width, 11).map((value, i) =>
    Math.floor(i / width) === 2 || i % width === 5 ? 0 : value * 2 ** ((i % 9) - 6),
  );
  const inputs = {
    meansquare: Float32Array.from({ length: width }, (_, c) => 1 + (c % 7)),
    absmax: Float32Array.from({ length: width }, (_, c) => 1 + ((c * 31) % width)),
  };

  const grouped = { granularity: { group: 16 }, scaleType: 'f16' } as const;
  const table = (name: TableScheme['table'], more: Partial<TableScheme> = {}): TableScheme => ({
    ...{ kind: 'table', table: name, range: 'absmax', ...grouped },
    ...more,
  });
  const book = { kind: 'codebook', weighted: false, bookType: 'f16' } as const;
  const kinds: WeightScheme[] = [
    { kind: 'integer', bits: 4, symmetric: true, range: 'absmax-half', ...grouped },
    { kind: 'integer', bits: 3, symmetric: false, range: 'minmax', ...grouped },
    { kind: 'integer', bits: 1, symmetric: true, range: 'absmax-half', granularity: 'tensor', scaleType: 'f32' },
    { kind: 'integer', bits: 3, symmetric: false, range: 'minmax', ...grouped, nested: { bits: 4, per: 'row' } },
    { kind: 'integer', bits: 4, symmetric: false, zero: 'float', range: 'minmax', ...grouped, nested: { bits: 6, per: 'row' } },
    { kind: 'integer', bits: 5, symmetric: true, range: 'absmax-half', ...grouped, nested: { bits: 8, per: 'row' } },
    ...tableNames.flatMap((name) => [
      table(name),
      table(name, { granularity: 'channel', scaleType: 'bf16', range: 'mse' }),
      table(name, { granularity: 'tensor', scaleType: 'f32' }),
      table(name, { nested: { bits: 8, per: 'tensor' }, scaleType: 'f32' }),
      table(name, { nested: { bits: 3, per: 'row' }, range: 'imatrix' }),
    ]),
    ...(['e2m1', 'e2m3', 'e3m2', 'e4m3', 'e5m2'] as const).map((element) => ({ kind: 'mx', element, exponent: 'best' }) as const),
    ...(['six', 'four-over-six', 'search'] as const).map((scale) => ({ kind: 'nvfp4', scale }) as const),
    ...([1, 3, 5, 8] as const).map((bits) => ({ ...book, bits, dim: 1, per: 'row' }) as const),
    { ...book, bits: 4, dim: 1, per: 'tensor', bookType: 'f32' },
    { ...book, bits: 3, dim: 1, per: { columns: 20 } },
    { ...book, bits: 4, dim: 2, per: { columns: 16 } },
    { ...book, bits: 5, dim: 2, per: 'tensor', bookType: 'bf16' },
    { ...book, bits: 6, dim: 4, per: 'row', weighted: true },
  ];
  const parts: SchemeExtras[] = [
    {},
    { split: { sparse: { share: 0.03, by: 'sensitivity' } } },
    { split: { sparse: { share: 0.03, by: 'magnitude' }, columns: { count: 2 } } },
    { split: { lowRank: { rank: 2, weighted: true } } },
    { balance: 'sinkhorn' },
    {
      split: { sparse: { share: 0.05, by: 'magnitude' }, columns: { count: 3 }, lowRank: { rank: 1, weighted: false } },
      balance: 'sinkhorn',
    },
  ];

  const stored = ({ values: all, stored: how, codes, parent }: Levels): unknown => ({
    ...{ values: all, how, codes },
    parent: parent && stored(parent),
  });

  test.each(kinds.map((kind) => ({ kind, label: JSON.stringify(kind) })))('$label', ({ kind }) => {
    for (const part of parts) {
      const scheme = { ...kind, ...part };
      const survey = surveyScheme(values, place, scheme, inputs);
      const form = schemeForm(scheme, width);
      const where = JSON.stringify(part);
      const whole = packTile(encodeRows(values, place, scheme, inputs, survey), form);
      for (const [from, to] of [
        [0, height],
        [2, 5],
      ] as const) {
        const rowsHere = values.slice(from * width, to * width);
        const tile = encodeRows(rowsHere, { ...place, from, to }, scheme, inputs, survey);
        const fields = packTile(tile, form);
        const sizes = fieldSizes(form, width);
        expect(Object.keys(fields).sort(), where).toEqual(Object.keys(sizes).sort());
        for (const [key, size] of Object.entries(sizes)) {
          const { whole: all } = size;
          const [first, end] = [rowStart(size, from), rowStart(size, to)];
          expect(fields[key]!.length, `${where} ${key}`).toBe(all ?? end - first);
          // Rows of their own: any worker can write any rows, and what all share is the same for all.
          expect(fields[key], `${where} ${key}`).toEqual(all ? whole[key] : whole[key]!.slice(first, end));
        }
        const back = unpackTile(form, fields, { rows: height, cols: width, from, to });
        expect(dequantizeTile(back), where).toEqual(dequantizeTile(tile));
        expect([...back.codes], where).toEqual([...tile.codes]);
        expect(stored(back.scale!), where).toEqual(stored(tile.scale!));
        expect({ ...back.sparse }, where).toEqual({ ...tile.sparse });
        expect({ ...back.columns }, where).toEqual({ ...tile.columns });
        expect({ ...back.lowRank }, where).toEqual({ ...tile.lowRank });
        expect(back.columnScale, where).toEqual(tile.columnScale);
      }
    }
  });
});
