import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { decodeBf16, encodeBf16Array } from './bf16.ts';
import { decodeF16, encodeF16Array } from './f16.ts';
import {
  decodeMinifloat,
  decodeMinifloatArray,
  encodeMinifloat,
  encodeMinifloatArray,
  minifloat,
  minifloats,
  minifloatValues,
} from './minifloat.ts';

// The value of every code and the codes of 2000 values, by ml_dtypes 0.6.0 (NumPy for float16) and by torch 2.13.0.
const folder = new URL('../../test/golden/formats/minifloats/', import.meta.url);
const file = readFileSync(new URL('minifloats.safetensors', folder));
const headerEnd = 8 + Number(file.readBigUInt64LE(0));
const header = JSON.parse(file.toString('utf8', 8, headerEnd));

function golden(name: string): Buffer | undefined {
  const entry = header[name];
  return entry && file.subarray(headerEnd + entry.data_offsets[0], headerEnd + entry.data_offsets[1]);
}

const floats = (bytes: Buffer) => new Float32Array(Uint8Array.from(bytes).buffer);
const halves = (bytes: Buffer) => new Uint16Array(Uint8Array.from(bytes).buffer);

/** Codes compare equal, any NaN of 16 bits with any other. */
function mismatches(format: ReturnType<typeof minifloat>, got: ArrayLike<number>, want: ArrayLike<number>): number[] {
  const isNan = (code: number) => format.bits === 16 && Number.isNaN(decodeMinifloat(format, code));
  return Array.from({ length: want.length }, (_, i) => i).filter(
    (i) => got[i] !== want[i] && !(isNan(got[i]!) && isNan(want[i]!)),
  );
}

describe.each(Object.keys(minifloats).filter((name) => name !== 'e4m3'))('%s', (name) => {
  const format = minifloat(name);
  const x = floats(golden(`${format.mlDtypes}.x`)!);
  const bytes = golden(`${format.mlDtypes}.code`)!;
  const want = format.bits === 16 ? halves(bytes) : bytes;

  it('encodes 2000 values as ml_dtypes does', () => {
    const got = encodeMinifloatArray(format, x, new Uint16Array(x.length));
    expect(mismatches(format, got, want)).toEqual([]);
    expect(x.length).toBe(2000);
    expect(encodeMinifloat(format, x[7]!)).toBe(got[7]);
  });

  it('decodes every code as ml_dtypes does', () => {
    const values = minifloatValues(format);
    const expected = golden(`${format.mlDtypes}.values`);
    if (expected) expect(values).toEqual(floats(expected));
    else expect(format.bits).toBe(16);
  });

  it('encodes the value of each code back to the code', () => {
    const values = minifloatValues(format);
    const codes = Uint16Array.from(values.keys()).filter((code) => !Number.isNaN(values[code]));
    expect(
      encodeMinifloatArray(
        format,
        values.filter((v) => !Number.isNaN(v)),
        new Uint16Array(codes.length),
      ),
    ).toEqual(codes);
    expect(decodeMinifloatArray(format, codes)).toEqual(values.filter((v) => !Number.isNaN(v)));
  });
});

it('saturates where asked, as torch does for e4m3fn', () => {
  const x = floats(golden('float8_e4m3fn.x')!);
  const torch = golden('float8_e4m3fn.code_torch')!;
  const got = encodeMinifloatArray(minifloats.e4m3fn, x, new Uint8Array(x.length), { saturate: true });
  expect(mismatches(minifloats.e4m3fn, got, torch)).toEqual([]);
  expect(decodeMinifloat(minifloats.e4m3, encodeMinifloat(minifloats.e4m3, -1e9, { saturate: true }))).toBe(-448);
  expect(encodeMinifloat(minifloats.e4m3fnuz, Number.POSITIVE_INFINITY, { saturate: true })).toBe(0x7f);
  expect(encodeMinifloat(minifloats.e5m2, 1e9, { saturate: true })).toBe(0x7b);
});

it('agrees with the fast f16 and bf16 on the golden values', () => {
  const f16 = floats(golden('float16.x')!);
  const bf16 = floats(golden('bfloat16.x')!);
  expect(mismatches(minifloats.f16, encodeF16Array(f16), halves(golden('float16.code')!))).toEqual([]);
  expect(mismatches(minifloats.bf16, encodeBf16Array(bf16), halves(golden('bfloat16.code')!))).toEqual([]);
  for (let code = 0; code < 65536; code++) {
    if (!Object.is(decodeF16(code), decodeMinifloat(minifloats.f16, code))) throw new Error(`f16 ${code}`);
    if (!Object.is(decodeBf16(code), decodeMinifloat(minifloats.bf16, code))) throw new Error(`bf16 ${code}`);
  }
});

it('names the formats when one does not exist', () => {
  expect(() => minifloat('e9m9')).toThrow(/no such minifloat format \(got e9m9\); choose one of e4m3fn/);
  expect(() => minifloat('constructor')).toThrow(/no such minifloat/);
});
