/**
 * Function-preserving rewrites as data: operations on tensors by canonical name. A vector [n] (a norm's gain, a bias) counts as a
 * matrix [n, 1]: its entries are rows.
 */
import { RecipeError } from '../../errors.ts';
import { applyStrided, type Rotation, type Rotator, rotator } from './rotation.ts';

export type TensorOperation =
  /** Row i, or column i, times by[i]; with `divide` over by[i]. Local to a row. */
  | {
      readonly kind: 'scale';
      readonly tensor: string;
      readonly axis: 'rows' | 'columns';
      readonly by: Float32Array;
      readonly divide?: boolean;
    }
  /** Every value becomes this one: a gain that was folded into what follows. Local to a row. */
  | { readonly kind: 'fill'; readonly tensor: string; readonly value: number }
  /**
   * Runs of `rotation.size` values become x Q. `columns`: runs along a row, local to it. `rows`: runs down a column; a tile must hold
   * whole runs: of a rotation of the hidden states all rows. `stride` (1): how far apart the values are that turn together.
   */
  | {
      readonly kind: 'rotate';
      readonly tensor: string;
      readonly axis: 'rows' | 'columns';
      readonly rotation: Rotation;
      readonly stride?: number;
    }
  /** Values of group g of row r are clamped to ± limits[r, g]: not function-preserving, but part of AWQ. Local to a row. */
  | { readonly kind: 'clip'; readonly tensor: string; readonly group: number; readonly limits: Float32Array };

/** Which rows of which tensor. */
export interface RowSpan {
  readonly name: string;
  /** Of the whole tensor: [rows, cols] or [n]. */
  readonly shape: readonly number[];
  readonly from: number;
  readonly to: number;
}

/**
 * Applies the operations that concern `span.name`, in order. In place, each value in f64 and rounded to f32 after every operation.
 * @param values [to - from, cols]
 * @throws RecipeError where an operation does not fit the tensor, or a rotation of rows does not get whole runs
 */
export function applyOperations(values: Float32Array, span: RowSpan, operations: readonly TensorOperation[]): Float32Array {
  const [rows, cols] = matrixShape(span.shape);
  if (values.length !== (span.to - span.from) * cols || span.to > rows) {
    throw new RecipeError({
      what: 'the values do not fill the rows',
      where: span.name,
      value: values.length,
      limit: (span.to - span.from) * cols,
    });
  }
  for (const operation of operations) if (operation.tensor === span.name) applyOne(values, span, rows, cols, operation);
  return values;
}

/**
 * The rows of a tile that its operations can be applied to by itself are multiples of this: 1, or the runs of rows that rotate
 * together.
 */
export function rowsTogether(tensor: string, operations: readonly TensorOperation[]): number {
  const sizes = operations.flatMap((one) =>
    one.kind === 'rotate' && one.axis === 'rows' && one.tensor === tensor ? [one.rotation.size * (one.stride ?? 1)] : [],
  );
  return sizes.reduce(leastCommonMultiple, 1);
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}

function matrixShape(shape: readonly number[]): [rows: number, cols: number] {
  return [shape[0]!, shape[1] ?? 1];
}

function applyOne(values: Float32Array, span: RowSpan, rows: number, cols: number, operation: TensorOperation): void {
  switch (operation.kind) {
    case 'scale':
      scale(values, span, operation.axis === 'rows' ? rows : cols, cols, operation);
      break;
    case 'fill':
      values.fill(operation.value);
      break;
    case 'clip':
      clip(values, span, cols, operation);
      break;
    case 'rotate':
      if (operation.axis === 'columns') rotateColumns(values, span, cols, operation);
      else rotateRows(values, span, cols, operation);
  }
}

function scale(
  values: Float32Array,
  { name, from }: RowSpan,
  width: number,
  cols: number,
  { by, axis, divide }: Extract<TensorOperation, { kind: 'scale' }>,
): void {
  if (by.length !== width)
    throw new RecipeError({ what: `scales do not fit the ${axis}`, where: name, value: by.length, limit: width });
  for (let at = 0; at < values.length; at++) {
    const factor = by[axis === 'rows' ? from + Math.floor(at / cols) : at % cols]!;
    values[at] = divide ? values[at]! / factor : values[at]! * factor;
  }
}

function clip(
  values: Float32Array,
  { name, from, shape }: RowSpan,
  cols: number,
  { group, limits }: Extract<TensorOperation, { kind: 'clip' }>,
): void {
  const groups = cols / group;
  if (limits.length !== shape[0]! * groups)
    throw new RecipeError({
      what: 'clip limits do not fit the groups',
      where: name,
      value: limits.length,
      limit: shape[0]! * groups,
    });
  for (let at = 0, g = from * groups; at < values.length; at += group, g++) {
    const limit = limits[g]!;
    for (let i = at; i < at + group; i++) values[i] = Math.max(-limit, Math.min(values[i]!, limit));
  }
}

type Rotate = Extract<TensorOperation, { kind: 'rotate' }>;

function rotateColumns(values: Float32Array, { name }: RowSpan, cols: number, { rotation, stride = 1 }: Rotate): void {
  if (cols % (rotation.size * stride) !== 0) throw unfit(name, cols, rotation.size * stride);
  applyStrided(rotatorOf(rotation), values, stride);
}

function rotateRows(
  values: Float32Array,
  { name, from, to, shape }: RowSpan,
  cols: number,
  { rotation, stride = 1 }: Rotate,
): void {
  const size = rotation.size * stride;
  if (shape[0]! % size !== 0) throw unfit(name, shape[0]!, size);
  if (from % size !== 0 || to % size !== 0) {
    throw new RecipeError({
      what: 'a rotation of rows needs all rows that rotate together in one tile',
      where: name,
      value: `rows ${from} to ${to}`,
      limit: `multiples of ${size}`,
    });
  }
  const turn = rotatorOf(rotation);
  const column = new Float64Array(to - from);
  for (let c = 0; c < cols; c++) {
    for (let r = 0, at = c; r < column.length; r++, at += cols) column[r] = values[at]!;
    applyStrided(turn, column, stride);
    for (let r = 0, at = c; r < column.length; r++, at += cols) values[at] = column[r]!;
  }
}

function unfit(where: string, value: number, limit: number): RecipeError {
  return new RecipeError({ what: 'a rotation does not divide the width that it turns', where, value, limit });
}

const rotators = new WeakMap<Rotation, Rotator>();

function rotatorOf(rotation: Rotation): Rotator {
  const known = rotators.get(rotation) ?? rotator(rotation);
  rotators.set(rotation, known);
  return known;
}
