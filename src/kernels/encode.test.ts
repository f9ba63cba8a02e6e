import { describe, expect, it } from 'vitest';
import { FormatError, NumericError, RecipeError } from '../errors.ts';
import { decodeRows, encodeRows } from './encode.ts';
import { loadKernels } from './kernels.ts';

const kernels = await loadKernels();
const x = Float32Array.from({ length: 128 }, (_, i) => Math.fround(Math.sin(i)));

describe('encodeRows and decodeRows', () => {
  it('leave the arena as it was', () => {
    const mark = kernels.mark();
    decodeRows(kernels, 'q4_0', encodeRows(kernels, 'q4_0', x, 64, new Float32Array(64).fill(1)), 128);
    expect(kernels.mark()).toBe(mark);
  });

  it('reproduce values to half a step', () => {
    const decoded = decodeRows(kernels, 'q8_0', encodeRows(kernels, 'q8_0', x, 64), 128);
    expect(Math.max(...decoded.map((v, i) => Math.abs(v - x[i])))).toBeLessThan(0.51 / 127);
  });

  it('take no values at all', () => {
    expect(encodeRows(kernels, 'q4_0', new Float32Array(0), 32)).toEqual(new Uint8Array(0));
    expect(decodeRows(kernels, 'q4_0', new Uint8Array(0), 0)).toEqual(new Float32Array(0));
  });

  it('refuse shapes that do not fit', () => {
    expect(() => encodeRows(kernels, 'q4_0', x, 16)).toThrow(/blocks of 32 \(got 16\)/);
    expect(() => encodeRows(kernels, 'q4_0', x, 0)).toThrow(RecipeError);
    expect(() => encodeRows(kernels, 'q4_0', x, 96)).toThrow(/whole rows/);
    expect(() => encodeRows(kernels, 'q4_0', x, 64, new Float32Array(32))).toThrow(/another width/);
    const spoiled = (i: number, v: number, n = 128) => Float32Array.from({ length: n }, (_, j) => (j === i ? v : 1));
    expect(() => encodeRows(kernels, 'q4_0', spoiled(70, Number.NaN), 64)).toThrow(/\[1, 6\]: a value is not finite \(got NaN\)/);
    expect(() => encodeRows(kernels, 'q4_0', x, 64, spoiled(3, -1, 64))).toThrow(/column 3.*negative or not finite/);
    expect(() => encodeRows(kernels, 'q4_0', x, 64, spoiled(3, Number.POSITIVE_INFINITY, 64))).toThrow(NumericError);
    expect(() => encodeRows(kernels, 'i8', x, 64)).toThrow(/cannot be encoded/);
    expect(() => decodeRows(kernels, 'i8', new Uint8Array(4), 4)).toThrow(/cannot be decoded/);
    expect(() => decodeRows(kernels, 'q4_0', new Uint8Array(18), 33)).toThrow(FormatError);
    expect(() => decodeRows(kernels, 'q4_0', new Uint8Array(17), 32)).toThrow(/too few bytes/);
    expect(() => decodeRows(kernels, 'q4_0', new Uint8Array(18), -32)).toThrow(FormatError);
    expect(() => decodeRows(kernels, 'q4_0', new Uint8Array(18), Number.NaN)).toThrow(FormatError);
  });
});
