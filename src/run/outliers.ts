/** Largest weights of input channels, for maps of where outliers are. */
import type { OutlierRow } from '../evaluate/plot/outliers.ts';
import type { Model } from '../format/types.ts';
import { isMatrix } from '../recipe/resolve.ts';
import { decoded, RowReader } from './row-reader.ts';

/** Runs of channels that are shown as one. */
const BINS = 96;

/** Of each matrix: the largest |w| of runs of input channels over the median of all channels; matrices of zeros are left out. */
export async function outlierRows({ tensors }: Model, signal?: AbortSignal): Promise<OutlierRow[]> {
  const reader = new RowReader();
  const rows: OutlierRow[] = [];
  try {
    for (const tensor of tensors.filter(isMatrix)) {
      signal?.throwIfAborted();
      const { cols } = tensor.stored;
      const maxima = new Float32Array(cols);
      const blind = await reader.walk([tensor.stored], ({ kernels, rows: [fetched] }) => {
        if (!fetched!.decodable) return true;
        const values = decoded(kernels, fetched!, cols);
        for (let i = 0, c = 0; i < values.length; i++, c = c + 1 === cols ? 0 : c + 1) {
          const size = Math.abs(values[i]!);
          if (size > maxima[c]!) maxima[c] = size;
        }
        return undefined;
      });
      const median = maxima.slice().sort()[cols >> 1]!;
      if (!blind && median > 0) rows.push({ name: tensor.name, ratios: binned(maxima, median) });
    }
  } finally {
    await reader.close();
  }
  return rows;
}

function binned(maxima: Float32Array, median: number): number[] {
  const bins = Math.min(BINS, maxima.length);
  const ratios = new Array<number>(bins).fill(0);
  for (const [c, value] of maxima.entries()) {
    const bin = Math.floor((c * bins) / maxima.length);
    ratios[bin] = Math.max(ratios[bin]!, value / median);
  }
  return ratios;
}
