/** From a transform of the recipe to what it does to this model: one row a transform. */
import type { Kernels } from '../../kernels/kernels.ts';
import type { ModelSpec } from '../../model/index.ts';
import type { StatisticKind } from '../../quantize/statistics.ts';
import {
  type AwqSearch,
  awq,
  type ModelRewrite,
  quarot,
  type RoundTrip,
  smoothQuant,
  type TransformInputs,
} from '../../quantize/transform/index.ts';
import { quarotOptions } from '../../recipe/rewritten.ts';
import type { Transform } from '../../recipe/schema.ts';

/** What a transform looks at. */
export interface TransformContext extends TransformInputs<StatisticKind> {
  spec: ModelSpec;
  kernels: Kernels;
  /** How the linears of the model will be quantized. */
  roundTrip(): RoundTrip;
}

export type FoundRewrite = ModelRewrite & { searches?: readonly AwqSearch[] };

type Performers = {
  readonly [K in Transform['kind']]: (
    transform: Extract<Transform, { kind: K }>,
    context: TransformContext,
  ) => Promise<FoundRewrite>;
};

const performers: Performers = {
  smoothquant: ({ alpha, folds }, context) => smoothQuant(context.spec, context, { alpha, folds }),
  awq: ({ scales, clip, grid }, context) =>
    awq(context.spec, context, { kernels: context.kernels, roundTrip: context.roundTrip(), scales, clip, grid }),
  quarot: (transform, { spec, weight }) => quarot(spec, weight, quarotOptions(transform)),
};

export function performTransform(transform: Transform, context: TransformContext): Promise<FoundRewrite> {
  return (performers[transform.kind] as (one: Transform, context: TransformContext) => Promise<FoundRewrite>)(transform, context);
}
