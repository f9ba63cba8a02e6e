import type { GridForm, TileForm } from '../../quantized/form.ts';
import { quantizeToTable } from '../grid/table-matrix.ts';
import { scalarGrid } from '../grid/tables.ts';
import type { TableScheme } from '../scheme.ts';
import type { Kind } from './types.ts';

/** Fractions of the absmax scale that a search tries. */
const SEARCH_STEPS = 40;

export const table: Kind<TableScheme> = {
  needs: ({ range }) => (range === 'imatrix' ? ['meansquare'] : []),
  form({ table: name, granularity, scaleType }): TileForm {
    const per = {
      group: typeof granularity === 'object' ? granularity.group : 0,
      ...(granularity === 'tensor' && { wholeTensor: true }),
    };
    return { grid: gridForm(name), scale: { stored: scaleType, ...per } };
  },
  run: ({ granularity }) => (typeof granularity === 'object' ? granularity.group : 1),
  surveys: ({ granularity }) => (granularity === 'tensor' ? 'limits' : undefined),
  survey(x) {
    const limits = { min: 0, max: 0 };
    for (const value of x) {
      if (value < limits.min) limits.min = value;
      if (value > limits.max) limits.max = value;
    }
    return { limits };
  },
  quantize(x, place, { table: grid, granularity, scaleType, range }, { meansquare }, { limits }) {
    return quantizeToTable(x, limits ? { ...place, survey: limits } : place, {
      grid,
      granularity,
      scaleType,
      ...(range !== 'absmax' && { range: { search: SEARCH_STEPS } }),
      ...(range === 'imatrix' && meansquare && { weights: meansquare }),
    });
  },
  stepLimit: () => undefined,
};

function gridForm(name: TableScheme['table']): GridForm {
  const grid = scalarGrid(name);
  if (grid.kind === 'codebook') return { kind: 'table', name, values: [...grid.values] };
  return grid as Extract<GridForm, { kind: 'minifloat' }>;
}
