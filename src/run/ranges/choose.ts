/** The node `ranges` of a plan: the tensors whose range is cross-entropy get their factors. */
import { RecipeError } from '../../errors.ts';
import { loadKernels } from '../../kernels/kernels.ts';
import { searchedSamples } from '../../recipe/memory.ts';
import { looksAtLoss } from '../../recipe/needs.ts';
import type { Plan } from '../../recipe/plan.ts';
import type { CalibrationWindows } from '../calibration/windows.ts';
import { weightReader } from '../weights.ts';
import { LayerStack } from './layer-stack.ts';
import { type RangeRecord, searchRanges } from './search.ts';

export interface ChooseOptions {
  calibration?: CalibrationWindows;
  signal?: AbortSignal;
  onTensor?: (done: number, name: string) => void;
}

/** @throws RecipeError without a text, NumericError where logits are not finite */
export async function chooseRanges({ model, layout }: Plan, options: ChooseOptions): Promise<RangeRecord[]> {
  const { calibration, signal, onTensor } = options;
  if (!calibration) {
    throw new RecipeError({
      what: 'the range cross-entropy needs a text, and the run was given none',
      next: 'pass calibration windows to run',
    });
  }
  const coordinates = layout.tensors.flatMap(({ source, scheme, from: { cols } }) => {
    if (!looksAtLoss(scheme)) return [];
    const layer = model.tensors.find(({ name }) => name === source)?.layer;
    return [{ name: source, cols, scheme, ...(layer !== undefined && { layer }) }];
  });
  const { context } = calibration;
  const spec = model.spec!;
  const samples = searchedSamples(spec, calibration);
  const tokens = { ids: calibration.ids.subarray(0, samples * context), samples, context };
  const reader = weightReader(model);
  try {
    const stack = await LayerStack.open(spec, reader, tokens, model.online);
    try {
      const kernels = await loadKernels();
      return await searchRanges(coordinates, {
        spec,
        stack,
        kernels,
        tokens,
        ...(signal && { signal }),
        ...(onTensor && { onTensor }),
      });
    } finally {
      await stack.close();
    }
  } finally {
    await reader.close?.();
  }
}
