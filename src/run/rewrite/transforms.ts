/** From a transform of the recipe to what it does to this model: one row a transform. */
import type { Kernels } from '../../kernels/kernels.ts';
import { inputGroups, type ModelSpec } from '../../model/index.ts';
import type { StatisticKind } from '../../quantize/statistics.ts';
import {
  type AwqRewrite,
  type AwqSearch,
  awqLayer,
  joinedRewrites,
  type ModelRewrite,
  quarot,
  type RoundTrip,
  sinqFolds,
  smoothQuant,
  type TransformInputs,
} from '../../quantize/transform/index.ts';
import { quarotOptions } from '../../recipe/rewritten.ts';
import type { Transform } from '../../recipe/schema.ts';

type Reader = TransformInputs<StatisticKind>;

/** What a transform looks at. */
export interface TransformContext extends Pick<Reader, 'weight'> {
  spec: ModelSpec;
  /** Statistics of the inputs of all layers, kept for the length of a call each: those of a model do not fit into memory. */
  eachLayer(
    kinds: readonly StatisticKind[],
    visit: (layer: number, statistic: Reader['statistic']) => Promise<void>,
  ): Promise<void>;
  kernels: Kernels;
  /** How a weight will be quantized; undefined where it stays as it is. */
  roundTripOf(weight: string): RoundTrip | undefined;
}

export type FoundRewrite = ModelRewrite & { searches?: readonly AwqSearch[] };

type Performers = {
  readonly [K in Transform['kind']]: (
    transform: Extract<Transform, { kind: K }>,
    context: TransformContext,
  ) => Promise<FoundRewrite>;
};

const performers: Performers = {
  async smoothquant({ alpha, folds }, { spec, weight, eachLayer }) {
    const absmax = new Map<string, Float32Array>();
    await eachLayer(['absmax'], async (layer, statistic) => {
      for (const { linears } of inputGroups(spec, layer))
        for (const linear of linears) absmax.set(linear, await statistic(linear, 'absmax'));
    });
    return smoothQuant(spec, { weight, statistic: async (linear) => absmax.get(linear)! }, { alpha, folds });
  },
  async awq({ scales, clip, grid }, { spec, weight, kernels, eachLayer, ...context }) {
    const options = { kernels, roundTripOf: context.roundTripOf, scales, clip, grid };
    const layers: AwqRewrite[] = [];
    await eachLayer(['absmean', 'hessian'], async (layer, statistic) => {
      layers.push(await awqLayer(spec, layer, { weight, statistic }, options));
    });
    return joinedRewrites(layers);
  },
  sinq: ({ folds }, { spec, weight }) => sinqFolds(spec, { weight }, { folds }),
  quarot: (transform, { spec, weight }) => quarot(spec, weight, quarotOptions(transform)),
};

export function performTransform(transform: Transform, context: TransformContext): Promise<FoundRewrite> {
  return (performers[transform.kind] as (one: Transform, context: TransformContext) => Promise<FoundRewrite>)(transform, context);
}
