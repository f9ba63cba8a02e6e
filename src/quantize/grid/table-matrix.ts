/**
 * Quantization to a list of values (NF4, FP4, minifloats, any list): scale = absmax / largest |value of the grid|, the code is
 * that of the value nearest to x / scale.
 */
import { NumericError, RecipeError } from '../../errors.ts';
import { floatTypes } from '../../numeric/float.ts';
import type { Grid, QuantizedTile } from '../../quantized/types.ts';
import { sharedCount } from '../granularity.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { type NearestOptions, nearestTable } from './nearest.ts';
import { checkRows, checkWeights, type GridGranularity, runsOf, tensorAbsmax } from './place.ts';
import { absmaxOf, type Division, encodeRun, rmsOf } from './runs.ts';
import { searchScale } from './scale-search.ts';
import { scalarGrid, type TableName } from './tables.ts';

export interface TableOptions extends NearestOptions {
  grid: TableName | ArrayLike<number> | Grid;
  granularity: GridGranularity;
  /** How scales are stored (f32). Codes belong to the stored scale. */
  scaleType?: 'f32' | 'f16' | 'bf16';
  /** Default f64 and divide. */
  arithmetic?: Partial<Division>;
  /**
   * A run at the end of the matrix that is shorter than the others. bitsandbytes divides there instead of multiplying by the
   * reciprocal, and an all-zero one gets the scale 1e-38.
   */
  partialRun?: 'bitsandbytes';
  /**
   * absmax (default); rms, for grids in units of the deviation (`gaussianLevels`); or the scale of least error among `search`
   * fractions of absmax, refitted to its codes.
   */
  range?: 'absmax' | 'rms' | { search: number };
  /** Weights of the squared error by column in a search, [cols]: mean squares of the inputs. */
  weights?: Float32Array;
}

/** As bitsandbytes 0.50.2 rounds (default backend, the same as its CUDA kernels): `grid` nf4 or fp4. */
export const bitsandbytes = {
  scaleType: 'f32',
  arithmetic: { compute: 'f32', divide: 'reciprocal' },
  ties: 'lowerValue',
  midpoints: 'f32',
  duplicates: 'split',
  partialRun: 'bitsandbytes',
} as const satisfies Partial<TableOptions>;

/**
 * @param x [to - from, cols]
 * @throws NumericError for NaN, Inf or a scale that overflows its dtype; RecipeError for runs that do not fit
 */
export function quantizeToTable(x: Float32Array, place: TilePlace, options: TableOptions): QuantizedTile {
  checkRows(x, place);
  const { name, shape, from, to } = place;
  const cols = shape[1];
  checkWeights(options.weights, cols, name);
  const { granularity, scaleType = 'f32' } = options;
  const grid = isGrid(options.grid) ? options.grid : scalarGrid(options.grid);
  const table = nearestTable(grid, options);
  const division: Division = { compute: 'f64', divide: 'divide', ...options.arithmetic };
  const { per, run } = runsOf(granularity, x, place);
  const { range = 'absmax' } = options;
  const shared = granularity === 'tensor' && range !== 'rms' ? tensorAbsmax(x, place) : undefined;
  if (range !== 'absmax' && granularity === 'tensor' && (from > 0 || to < shape[0])) {
    throw new RecipeError({
      what: 'this range looks at all values that share a scale',
      where: name,
      value: range,
      next: 'take the whole matrix as one tile, or use range absmax with a survey',
    });
  }

  const codes = table.thresholds.length < 256 ? new Uint8Array(x.length) : new Uint16Array(x.length); // [to - from, cols]
  const scales = new Float32Array(sharedCount(per, { from, to, cols }));
  for (let level = 0, start = 0; start < x.length; level++, start += run) {
    const end = Math.min(start + run, x.length);
    let scale = (shared ?? absmaxOf(x, start, end)) / table.largest;
    let how = division;
    if (options.partialRun && end - start < run) {
      how = { ...division, divide: 'divide' };
      if (scale === 0) scale = 1e-38;
    }
    if (range === 'rms') scale = rmsOf(x, start, end);
    else if (range !== 'absmax') {
      scale = searchScale(table, x, start, end, scale, { steps: range.search, cols, column: start % cols, ...options });
    }
    scale = storedScale(scale, scaleType, () => `${name}, value ${start} of the tile`);
    scales[level] = scale;
    encodeRun(table, x, start, end, scale, how, codes);
  }
  return { name, shape, from, to, grid, codes, scale: { values: scales, stored: scaleType, per } };
}

/** A scale rounded to the dtype it is stored in; NumericError where it overflows. */
export function storedScale(scale: number, type: 'f32' | 'f16' | 'bf16', where: () => string): number {
  const stored = floatTypes[type].round(scale);
  if (Number.isFinite(stored)) return stored;
  throw new NumericError({
    what: `a scale overflows ${type}`,
    where: where(),
    value: `${scale}`,
    limit: floatTypes[type].max,
    next: 'store scales as bf16 or f32',
  });
}

function isGrid(grid: TableOptions['grid']): grid is Grid {
  return typeof grid === 'object' && 'kind' in grid;
}
