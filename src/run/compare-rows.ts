import { VerificationError } from '../errors.ts';
import { type GridErrors, measureTile, type TileErrors } from '../evaluate/tensor-report.ts';
import type { FetchedRows } from '../format/read-rows.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { gridTable } from '../quantize/dequantize.ts';
import { splitError } from '../quantize/error.ts';
import { HALF_STEP } from '../quantize/kinds/integer.ts';
import { kindOf } from '../quantize/kinds/registry.ts';
import { isWeightScheme, type Scheme } from '../quantize/scheme.ts';
import type { QuantizedTile } from '../quantized/types.ts';

/** Measures fetched rows against what became of them; undefined for integers, which are only copied. */
export function compareRows(
  kernels: Kernels,
  place: { from: number; cols: number; stepLimit?: number | undefined },
  source: FetchedRows,
  output: FetchedRows,
): TileErrors | undefined {
  if (!source.decodable || !output.decodable) return undefined;
  const errors = measureTile(kernels, { ...place, rows: source.count }, (first, n, x, y) => {
    source.decode(first, n, x);
    output.decode(first, n, y);
  });
  // Of books there is no single list of codes to count, and no step.
  const counted = output.tile && gridTable(output.tile.grid);
  return counted ? { ...errors, grid: gridErrors(kernels, place, source, output, output.tile!) } : errors;
}

/** Steps by which a value inside the range of its codes may move; undefined where codes are not the nearest ones. */
export function stepLimit(scheme: Scheme): number | undefined {
  if (!isWeightScheme(scheme)) return HALF_STEP;
  const moved = scheme.rounding || scheme.split || scheme.balance;
  return moved ? undefined : kindOf(scheme).stepLimit(scheme);
}

function gridErrors(
  kernels: Kernels,
  { cols, stepLimit: limit }: { cols: number; stepLimit?: number | undefined },
  source: FetchedRows,
  output: FetchedRows,
  tile: QuantizedTile,
): GridErrors {
  const mark = kernels.mark();
  const count = source.count * cols;
  const [x, y] = [kernels.alloc(count * 4), kernels.alloc(count * 4)];
  source.decode(0, source.count, x);
  output.decode(0, source.count, y);
  const { roundingError, clippingError, clipped, worstSteps } = splitError(kernels.f32(x, count), kernels.f32(y, count), tile);
  kernels.reset(mark);
  if (limit !== undefined && worstSteps > limit) {
    throw new VerificationError({
      what: 'a value inside the range of its codes is more than half a step from what was written',
      where: tile.name,
      value: `${worstSteps} steps`,
      limit,
      next: 'this is a bug or failing memory: please report it',
    });
  }
  const codes = new Array<number>(gridTable(tile.grid)!.length).fill(0);
  for (const code of tile.codes) codes[code]!++;
  return { rounding: roundingError, clipping: clippingError, clipped, codes };
}
