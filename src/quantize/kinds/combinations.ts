/** What a scheme cannot do together, said before anything is written. */
import { RecipeError } from '../../errors.ts';
import { rangeContext } from '../quantize-matrix.ts';
import { baseOf } from '../range/base.ts';
import { rangeNeeds, rangeOf } from '../range/registry.ts';
import type { WeightScheme } from '../scheme.ts';
import { sparsePerRow } from './apart.ts';

export interface Refusal {
  what: string;
  value: unknown;
  next: string;
}

interface Subject {
  scheme: WeightScheme;
  rows: number;
  cols: number;
}

type Check = (subject: Subject) => Refusal | undefined;

/** Two values one step apart, one of which is 0: whatever the range, no scale makes them fit weights of both signs. */
const oneBit: Check = ({ scheme }) =>
  scheme.kind === 'integer' && scheme.symmetric && scheme.bits === 1
    ? {
        what: 'a symmetric integer of 1 bit is -s or 0, and no weight above 0 is near either',
        value: 'bits 1',
        next: 'use --method binary, whose values are -s and s, or an asymmetric grid',
      }
    : undefined;

/** Range, base and zero belong to the symmetry, and every parameter to the range. */
const integerAxes: Check = ({ scheme }) => {
  if (scheme.kind !== 'integer') return undefined;
  try {
    const range = rangeOf(scheme.range, scheme.symmetric);
    const context = rangeContext(scheme);
    if (range.options.includes('base')) baseOf(context);
    const given = Object.entries(scheme.rangeOptions ?? {}).flatMap(([key, value]) => (value === undefined ? [] : [key]));
    const idle = given.filter((key) => !(range.options as readonly string[]).includes(key));
    if (idle.length === 0) return undefined;
    return {
      what: `the range ${range.name} does not read ${idle.map((key) => `rangeOptions.${key}`).join(', ')}`,
      value: scheme.rangeOptions,
      next: range.options.length > 0 ? `it reads ${range.options.join(', ')}` : 'leave rangeOptions out',
    };
  } catch (error) {
    if (!(error instanceof RecipeError)) throw error;
    const { what, value, next = 'choose other axes' } = error.problem;
    return { what, value, next };
  }
};

/** Codes that stand for several columns cannot take columns one after another. */
const vectors: Check = ({ scheme }) =>
  scheme.kind === 'codebook' && scheme.dim > 1 && scheme.rounding
    ? {
        what: 'feedback goes column by column, and a code of this book stands for several columns',
        value: `dim ${scheme.dim}`,
        next: 'take a book of single values (dim 1), or leave rounding out',
      }
    : undefined;

/** Feedback knows one book for all columns of a row, and a book holds whole vectors. */
const columnBooks: Check = ({ scheme }) => {
  if (scheme.kind !== 'codebook' || typeof scheme.per !== 'object') return undefined;
  const { columns } = scheme.per;
  if (columns % scheme.dim !== 0) {
    const next = `choose a multiple of ${scheme.dim}`;
    return { what: `books of so many columns do not hold whole vectors of ${scheme.dim}`, value: columns, next };
  }
  if (!scheme.rounding) return undefined;
  const next = 'take per: row or tensor, or leave rounding out';
  return { what: 'feedback needs one book for all columns of a row', value: `columns: ${columns}`, next };
};

const dynamicLevels: Check = ({ scheme }) => {
  if (scheme.rounding?.groups !== 'dynamic') return undefined;
  const next = 'say groups: static';
  if (scheme.kind !== 'integer') {
    return {
      what: 'only the scales of integers are found while columns are rounded',
      value: `${scheme.kind}, groups: dynamic`,
      next,
    };
  }
  if (scheme.nested) {
    return { what: 'scales under one float for each row are found before the first column', value: 'groups: dynamic', next };
  }
  if (
    rangeNeeds(scheme.range).includes('hessian') &&
    scheme.rounding.order !== 'natural' &&
    typeof scheme.granularity === 'object'
  ) {
    return {
      what: 'groups whose columns stand in another order are no blocks of the Hessian, which this range reads',
      value: scheme.range,
      next: 'use the range imatrix or mse, or static groups',
    };
  }
  return undefined;
};

/** The loss is that of the nearest codes. */
const byLoss: Check = ({ scheme }) =>
  scheme.kind === 'integer' && scheme.range === 'cross-entropy' && scheme.rounding
    ? {
        what: 'the range cross-entropy is chosen for codes that are rounded to nearest, and feedback makes others of them',
        value: scheme.rounding.kind,
        next: 'choose the range output-mse, or leave rounding out',
      }
    : undefined;

const tensorScale: Check = ({ scheme }) => {
  if (scheme.kind === 'integer' && scheme.nested && scheme.granularity === 'tensor') {
    return {
      what: 'one scale for the tensor has no row to be a multiple in',
      value: 'nested',
      next: 'leave nested out, or choose groups',
    };
  }
  if (scheme.kind !== 'table' || scheme.granularity !== 'tensor') return undefined;
  if (scheme.nested)
    return { what: 'one scale for the tensor is nested in nothing', value: 'nested', next: 'leave nested out, or choose groups' };
  if (scheme.range === 'absmax') return undefined;
  return {
    what: 'the scale of least error is searched in rows and groups, not over a whole tensor',
    value: scheme.range,
    next: 'choose the range absmax, or granularity channel or groups',
  };
};

const correction: Check = ({ scheme, rows, cols }) => {
  const { lowRank } = scheme.split ?? {};
  if (!lowRank) return undefined;
  const most = Math.min(rows, cols);
  if (lowRank.rank > most) {
    return { what: 'a correction of a higher rank than the matrix', value: lowRank.rank, next: `choose a rank up to ${most}` };
  }
  if (!scheme.rounding || lowRank.weighted) return undefined;
  return {
    what: 'what feedback leaves is small in the norm of the inputs only, and a correction without weights would undo it',
    value: 'lowRank.weighted: false',
    next: 'say weighted: true, or leave rounding out',
  };
};

const apart: Check = ({ scheme, cols }) => {
  const { columns, sparse } = scheme.split ?? {};
  const taken = (columns?.count ?? 0) + (sparse ? sparsePerRow(sparse.share, cols) : 0);
  if (taken < cols) return undefined;
  return { what: 'what is kept apart leaves no value of a row to quantize', value: taken, next: `keep fewer than ${cols} apart` };
};

const checks: readonly Check[] = [
  oneBit,
  integerAxes,
  vectors,
  columnBooks,
  dynamicLevels,
  byLoss,
  tensorScale,
  correction,
  apart,
];

/** Why a matrix of this shape cannot have this scheme; undefined where it can. */
export function refusalOf(scheme: WeightScheme, [rows, cols]: readonly [rows: number, cols: number]): Refusal | undefined {
  for (const check of checks) {
    const refusal = check({ scheme, rows, cols });
    if (refusal) return refusal;
  }
  return undefined;
}
