export {
  checkActivations,
  checkInput,
  type InputScaleType,
  inputLevels,
  largestOf,
  observedActivations,
  staticActivations,
  staticLevels,
} from './activations.ts';
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
export {
  type BookSharing,
  type CodebookOptions,
  learnBooks,
  quantizeToCodebook,
} from './codebook/book-matrix.ts';
export { gaussianLevels } from './codebook/gaussian.ts';
export { dequantizeTile, gridTable } from './dequantize.ts';
export { effectiveBitsOf, type FormOptions, formOf, type LevelForm, partsOf, type StoredForm } from './effective-bits.ts';
export { compareValues, type ErrorSplit, errorOf, type QuantizationError, splitError } from './error.ts';
export { fakeQuantize } from './fake.ts';
export { runLength, sharedCount, sharingOf, spreadRow, type TileRows } from './granularity.ts';
export { type BlockFloatOptions, type ExponentRule, quantizeBlockFloat } from './grid/block-float.ts';
export { type MeanScaleOptions, quantizeByMean } from './grid/deepspeed.ts';
export { dynamicMap } from './grid/dynamic-map.ts';
export { type IntegerGrid, integerGrid } from './grid/integer.ts';
export {
  type NearestOptions,
  type NearestTable,
  nearestCodes,
  nearestOf,
  nearestTable,
  type Ties,
  tableOfValues,
} from './grid/nearest.ts';
export { type DoubleOptions, doubleQuantize, nestedValues } from './grid/nested-levels.ts';
export { type Nvfp4Options, nvfp4Global, quantizeNvfp4 } from './grid/nvfp4.ts';
export { type PerVectorOptions, quantizePerVector } from './grid/per-vector.ts';
export type { GridGranularity } from './grid/place.ts';
export { bitsandbytes, quantizeToTable, type TableOptions } from './grid/table-matrix.ts';
export { scalarGrid, type TableName, valueTables } from './grid/tables.ts';
export { type HqqOptions, hqqErrors, hqqIterations, hqqMatrix, hqqRows } from './hqq.ts';
export * from './kv/index.ts';
export { type InputObserver, inputObserver } from './observer/input.ts';
export { observerOf, observers } from './observer/registry.ts';
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
export {
  divideColumns,
  multiplyGain,
  multiplyRows,
  type SinqOptions,
  type SinqScales,
  sharedColumnScale,
  sinqRows,
  sinqScales,
} from './sinq.ts';
export * from './split/index.ts';
export * from './transform/index.ts';
export { dequantizeWeightOnly, quantizeWeightOnly, type WeightOnly } from './weight-only.ts';
export { type MatrixOptions, type QuantizedMatrix, quantizeMatrix } from './whole-matrix.ts';
export { type QuantizedTokens, quantizeTokens, type ZeroQuantOptions, zeroQuantRows } from './zeroquant.ts';
