export { checkActivations, largestOf, observedActivations, staticActivations, staticLevels } from './activations.ts';
export {
  type AffineInput,
  type AffineTerms,
  type AffineWeights,
  affineProduct,
  affineTerms,
  foldedBias,
  weightSums,
} from './affine-product.ts';
export { completeArithmetic, defaultArithmetic } from './arithmetic.ts';
export { bitsOf, effectiveBits } from './bits.ts';
export { checkFinite } from './check.ts';
export { dequantizeTile, gridTable } from './dequantize.ts';
export { compareValues, type ErrorSplit, errorOf, type QuantizationError, splitError } from './error.ts';
export { fakeQuantize } from './fake.ts';
export { runLength, sharedCount, sharingOf, spreadRow, type TileRows } from './granularity.ts';
export { type IntegerGrid, integerGrid } from './grid/integer.ts';
export * from './kv/index.ts';
export { observerOf } from './observer/registry.ts';
export type { Observer, ObserverName, ObserverOptions } from './observer/types.ts';
export {
  describeRange,
  gridOf,
  quantizeRows,
  type RowOptions,
  rangeContext,
  surveyLimits,
  type TilePlace,
  zeroOf,
} from './quantize-matrix.ts';
export { groupBlocks, rangeInputs } from './range/inputs.ts';
export { rangeNeeds, rangeOf, ranges, scaleOf } from './range/registry.ts';
export type { Limits, Range, RangeContext, RangeInputs } from './range/types.ts';
export type { Factor } from './rounding/factor.ts';
export { type FactorResult, type FactorTask, factorTask } from './rounding/factor-task.ts';
export { type FactorFailure, type FactorOptions, factorize, factorizeHere } from './rounding/factorize.ts';
export { type FedRows, type FixedLevels, feedbackRows } from './rounding/feedback-rows.ts';
export { type GptqScheme, gptqRows } from './rounding/gptq-rows.ts';
export { feedbackLoss } from './rounding/loss.ts';
export { refines } from './rounding/refine-tile.ts';
export * from './scheme.ts';
export { type MatrixOptions, type QuantizedMatrix, quantizeMatrix } from './whole-matrix.ts';
