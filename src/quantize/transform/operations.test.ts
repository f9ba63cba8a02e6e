/** Operations on tiles: the same values as on whole tensors, and refusals where a tile cannot be enough. */
import { describe, expect, it } from 'vitest';
import { RecipeError } from '../../errors.ts';
import { Random } from '../../numeric/random.ts';
import { applyOperations, rowsTogether, type TensorOperation } from './operations.ts';
import { rotationMatrix } from './rotation.ts';

const [rows, cols] = [24, 20];
const random = new Random(4);
const w = Float32Array.from({ length: rows * cols }, () => random.gaussian());
const positive = (n: number) => Float32Array.from({ length: n }, () => 0.5 + random.uniform());
const operations: TensorOperation[] = [
  { kind: 'scale', tensor: 'w', axis: 'rows', by: positive(rows), divide: true },
  { kind: 'scale', tensor: 'w', axis: 'columns', by: positive(cols) },
  { kind: 'rotate', tensor: 'w', axis: 'columns', rotation: { kind: 'hadamard', size: 20 } },
  { kind: 'rotate', tensor: 'w', axis: 'rows', rotation: { kind: 'hadamard', size: 4 } },
  { kind: 'rotate', tensor: 'w', axis: 'rows', rotation: { kind: 'orthogonal', size: 3, seed: 1 }, stride: 2 },
  { kind: 'clip', tensor: 'w', group: 5, limits: positive(rows * 4) },
  { kind: 'fill', tensor: 'other', value: 1 },
];
const whole = { name: 'w', shape: [rows, cols], from: 0, to: rows };

describe('tiles', () => {
  it.each([1, 2])('of %i times the rows that rotate together give the values of the whole', (times) => {
    const expected = applyOperations(w.slice(), whole, operations);
    const step = rowsTogether('w', operations) * times;
    expect(step).toBe(12 * times);
    for (let from = 0; from < rows; from += step) {
      const tile = w.slice(from * cols, (from + step) * cols);
      expect(applyOperations(tile, { ...whole, from, to: from + step }, operations)).toEqual(
        expected.slice(from * cols, (from + step) * cols),
      );
    }
  });

  it('without rotations of rows may be single rows', () => {
    const local = operations.filter((one) => one.kind !== 'rotate' || one.axis === 'columns');
    expect(rowsTogether('w', local)).toBe(1);
    const expected = applyOperations(w.slice(), whole, local);
    for (let row = 0; row < rows; row++)
      expect(applyOperations(w.slice(row * cols, (row + 1) * cols), { ...whole, from: row, to: row + 1 }, local)).toEqual(
        expected.slice(row * cols, (row + 1) * cols),
      );
  });

  it("rotations are products with the matrix: W Q on columns, Q' W on rows", () => {
    const rotation = {
      kind: 'hadamard',
      size: 12,
      signs: Int8Array.from({ length: 12 }, (_, i) => (i % 3 === 0 ? -1 : 1)),
    } as const;
    const q = rotationMatrix(rotation);
    const x = w.slice(0, 144);
    const product = (rowsToo: boolean) =>
      Array.from(x, (_, at) => {
        const [i, j] = [Math.floor(at / 12), at % 12];
        let sum = 0;
        for (let k = 0; k < 12; k++) sum += rowsToo ? q[k * 12 + i]! * x[k * 12 + j]! : x[i * 12 + k]! * q[k * 12 + j]!;
        return sum;
      });
    for (const axis of ['columns', 'rows'] as const) {
      const turned = applyOperations(x.slice(), { name: 'x', shape: [12, 12], from: 0, to: 12 }, [
        { kind: 'rotate', tensor: 'x', axis, rotation },
      ]);
      product(axis === 'rows').forEach((value, at) => {
        expect(turned[at]).toBeCloseTo(value, 6);
      });
    }
  });

  it('vectors are columns: a gain is scaled, filled and rotated by its rows', () => {
    const vector = { name: 'g', shape: [4], from: 1, to: 3 };
    expect([
      ...applyOperations(Float32Array.of(2, 3), vector, [
        { kind: 'scale', tensor: 'g', axis: 'rows', by: Float32Array.of(1, 2, 3, 4), divide: true },
      ]),
    ]).toEqual([1, 1]);
    expect([...applyOperations(Float32Array.of(2, 3), vector, [{ kind: 'fill', tensor: 'g', value: 1 }])]).toEqual([1, 1]);
    const all = applyOperations(Float32Array.of(1, 1, 1, 1), { ...vector, from: 0, to: 4 }, [
      { kind: 'rotate', tensor: 'g', axis: 'rows', rotation: { kind: 'hadamard', size: 4 } },
    ]);
    expect([...all]).toEqual([2, 0, 0, 0]);
  });
});

describe('refusals', () => {
  const apply = (operation: TensorOperation, span = whole, values = w.slice()) => applyOperations(values, span, [operation]);
  const rotate = (axis: 'rows' | 'columns', size: number): TensorOperation => ({
    kind: 'rotate',
    tensor: 'w',
    axis,
    rotation: { kind: 'hadamard', size },
  });

  it.each([
    ['scales of another length', { kind: 'scale', tensor: 'w', axis: 'columns', by: new Float32Array(rows) }],
    ['limits of other groups', { kind: 'clip', tensor: 'w', group: 5, limits: new Float32Array(3) }],
    ['rotations that do not divide the columns', rotate('columns', 8)],
    ['rotations that do not divide the rows', rotate('rows', 16)],
    ['sizes without a Hadamard matrix', rotate('rows', 6)],
  ] as [string, TensorOperation][])('%s', (_, operation) => {
    expect(() => apply(operation)).toThrow(RecipeError);
  });

  it('rows that rotate with rows of another tile', () => {
    const part = { ...whole, from: 2, to: 6 };
    expect(() => apply(rotate('rows', 4), part, w.slice(40, 120))).toThrow(
      /a rotation of rows needs all rows that rotate together.*multiples of 4/,
    );
  });

  it('values that do not fill the rows', () => {
    expect(() => apply(rotate('columns', 20), whole, w.slice(0, 40))).toThrow(RecipeError);
  });
});
