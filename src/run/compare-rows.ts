import { type GridErrors, measureTile, type TileErrors } from '../evaluate/tensor-report.ts';
import type { FetchedRows } from '../format/read-rows.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { gridTable } from '../quantize/dequantize.ts';
import { errorOf } from '../quantize/error.ts';
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
  return output.tile ? { ...errors, grid: gridErrors(kernels, place.cols, source, output.tile) } : errors;
}

function gridErrors(kernels: Kernels, cols: number, source: FetchedRows, tile: QuantizedTile): GridErrors {
  const mark = kernels.mark();
  const at = kernels.alloc(source.count * cols * 4);
  source.decode(0, source.count, at);
  const { roundingError, clippingError, clipped } = errorOf(kernels.f32(at, source.count * cols), tile);
  kernels.reset(mark);
  const codes = new Array<number>(gridTable(tile.grid)!.length).fill(0);
  for (const code of tile.codes) codes[code]!++;
  return { rounding: roundingError, clipping: clippingError, clipped, codes };
}
