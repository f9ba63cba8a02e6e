import { describe, expect, test } from 'vitest';
import { memorySink, memorySource } from '../io/index.ts';
import { type FieldPlace, fieldBytes, fieldInMemory, readField, rowsInMemory, writeField } from './field-ranges.ts';

/** 12 rows; the field begins at byte 5. */
const rows = 12;
const places: [string, Omit<FieldPlace, 'offset'>][] = [
  ['rows', { rowBytes: 3 }],
  ['rows that share bytes', { rowBytes: 0.5 }],
  ['bytes of the whole tensor', { rowBytes: 0, whole: 7 }],
  ['a transposed field', { rowBytes: 2, stripes: { lines: 5, lineBytes: 24 } }],
  ['a transposed field with rows that share bytes', { rowBytes: 0.5, stripes: { lines: 5, lineBytes: 6 } }],
  ['a long transposed field', { rowBytes: 1, stripes: { lines: 3, lineBytes: 12 } }],
];

describe.each(places)('%s', (_, size) => {
  const field = { offset: 5, ...size };
  const total = fieldBytes(field, rows);
  const file = Uint8Array.from({ length: total + 9 }, (_, i) => (i * 37) & 255);

  test('what is read part by part and written part by part is the field', async () => {
    const copy = new Uint8Array(file.length);
    for (const part of [
      [0, 2],
      [2, 8],
      [8, 12],
    ] as const) {
      const bytes = await readField(memorySource(file), field, part[0], part[1]);
      expect(rowsInMemory(file, field, part)).toEqual(bytes);
      await writeField(memorySink(copy), field, part, bytes);
      const held = fieldInMemory(field, bytes, part);
      expect(await readField(memorySource(bytes), held, part[0], part[1])).toEqual(bytes);
    }
    expect(copy.subarray(5, 5 + total)).toEqual(file.subarray(5, 5 + total));
    expect(copy.subarray(5 + total)).toEqual(new Uint8Array(4));
    expect((await readField(memorySource(file), field, 0, rows)).length).toBe(total);
  });
});

test('a stripe of a long line is read line by line, neighbours are not touched', async () => {
  const field = { offset: 0, rowBytes: 1, stripes: { lines: 4, lineBytes: 1000 } };
  const file = new Uint8Array(4000).fill(9);
  await writeField(
    memorySink(file),
    field,
    [7, 9],
    Uint8Array.from({ length: 8 }, (_, i) => i),
  );
  expect(await readField(memorySource(file), field, 6, 10)).toEqual(
    Uint8Array.from([9, 0, 1, 9, 9, 2, 3, 9, 9, 4, 5, 9, 9, 6, 7, 9]),
  );
});
