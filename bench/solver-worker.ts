/** The worker of the solver's benchmark. */
import { loadKernels, serve, transfer } from 'fewbits/kernels';
import { type Factor, type FactorTask, factorTask, type GptqScheme, gptqRows, type TilePlace } from 'fewbits/quantize';

export interface RowsTask {
  /** [to - from, cols] */
  x: Float32Array;
  place: TilePlace;
  scheme: GptqScheme;
  factor: Factor;
}

const kernels = loadKernels();

serve({
  factor: async (task) => factorTask(task as FactorTask, await kernels),
  rows: async (task) => {
    const { x, place, scheme, factor } = task as RowsTask;
    const tile = gptqRows(await kernels, x, place, scheme, factor);
    return transfer(tile, [tile.codes.buffer as ArrayBuffer]);
  },
});
