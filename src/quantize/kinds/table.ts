import type { GridForm, TileForm } from '../../quantized/form.ts';
import { quantizeNestedTable } from '../grid/nested-table.ts';
import { quantizeToTable } from '../grid/table-matrix.ts';
import { scalarGrid } from '../grid/tables.ts';
import type { TableScheme } from '../scheme.ts';
import { limitsOf } from './limits.ts';
import type { Kind } from './types.ts';

/** Fractions of the absmax scale that a search tries. */
const SEARCH_STEPS = 40;

/** Listed values under a scale: NF4, FP4, minifloats, ternary, binary. */
export const table: Kind<TableScheme> = {
  needs: ({ range }) => (range === 'imatrix' ? ['meansquare'] : []),
  form({ table: name, granularity, scaleType, nested }): TileForm {
    const grid = gridForm(name);
    const group = typeof granularity === 'object' ? granularity.group : 0;
    if (nested) return { grid, scale: { stored: { bits: nested.bits }, group, parent: { stored: scaleType, per: nested.per } } };
    return { grid, scale: { stored: scaleType, group, ...(granularity === 'tensor' && { wholeTensor: true }) } };
  },
  run: ({ granularity }) => (typeof granularity === 'object' ? granularity.group : 1),
  surveys: ({ granularity, nested }) => (granularity === 'tensor' || nested?.per === 'tensor' ? 'limits' : undefined),
  survey: (x) => ({ limits: limitsOf(x) }),
  quantize(x, place, { table: grid, granularity, scaleType, range, nested }, { meansquare }, { limits }) {
    const weights = range === 'imatrix' && meansquare ? { weights: meansquare } : {};
    const where = limits ? { ...place, survey: limits } : place;
    if (nested) {
      const group = typeof granularity === 'object' ? granularity.group : place.shape[1];
      const { bits: scaleBits, per } = nested;
      return quantizeNestedTable(x, where, { grid, group, scaleBits, scaleType, per, search: range !== 'absmax', ...weights });
    }
    const search = range === 'absmax' ? {} : { range: { search: SEARCH_STEPS } };
    return quantizeToTable(x, where, { grid, granularity, scaleType, ...search, ...weights });
  },
  stepLimit: () => undefined,
};

function gridForm(name: TableScheme['table']): GridForm {
  const grid = scalarGrid(name);
  if (grid.kind === 'codebook') return { kind: 'table', name, values: [...grid.values] };
  return grid as Extract<GridForm, { kind: 'minifloat' }>;
}
