import { VerificationError } from '../errors.ts';
import { type GridErrors, measureTile, type TileErrors } from '../evaluate/tensor-report.ts';
import type { FetchedRows } from '../format/read-rows.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { gridTable } from '../quantize/dequantize.ts';
import { splitError } from '../quantize/error.ts';
import type { QuantizedTile } from '../quantized/types.ts';

/** Measures fetched rows against what became of them; undefined for integers, which are only copied. */
export function compareRows(
  kernels: Kernels,
  place: { from: number; cols: number },
  source: FetchedRows,
  output: FetchedRows,
): TileErrors | undefined {
  if (!source.decodable || !output.decodable) return undefined;
  const errors = measureTile(kernels, { ...place, rows: source.count }, (first, n, x, y) => {
    source.decode(first, n, x);
    output.decode(first, n, y);
  });
  return output.tile ? { ...errors, grid: gridErrors(kernels, place.cols, source, output, output.tile) } : errors;
}

/** Rounding to nearest moves a value by at most half a step; float arithmetic adds its own rounding to that. */
const HALF_STEP = 0.501;

function gridErrors(kernels: Kernels, cols: number, source: FetchedRows, output: FetchedRows, tile: QuantizedTile): GridErrors {
  const mark = kernels.mark();
  const count = source.count * cols;
  const [x, y] = [kernels.alloc(count * 4), kernels.alloc(count * 4)];
  source.decode(0, source.count, x);
  output.decode(0, source.count, y);
  const { roundingError, clippingError, clipped, worstSteps } = splitError(kernels.f32(x, count), kernels.f32(y, count), tile);
  kernels.reset(mark);
  if (worstSteps > HALF_STEP) {
    throw new VerificationError({
      what: 'a value inside the range of its codes is more than half a step from what was written',
      where: tile.name,
      value: `${worstSteps} steps`,
      limit: HALF_STEP,
      next: 'this is a bug or failing memory: please report it',
    });
  }
  const codes = new Array<number>(gridTable(tile.grid)!.length).fill(0);
  for (const code of tile.codes) codes[code]!++;
  return { rounding: roundingError, clipping: clippingError, clipped, codes };
}
