export { type AwqOptions, type AwqRewrite, type AwqSearch, awq, awqLayer, joinedRewrites } from './awq.ts';
export { type ClipChoice, type ClipSearch, searchClip } from './awq-clip.ts';
export { awqScales, type ScaleChoice, type ScaleSearch, searchScale, weightMeans } from './awq-scale.ts';
export { foldScales, gatherChannels, spreadScales } from './fold.ts';
export { applyHadamard, type Hadamard, hadamardBases, hadamardMatrix, hadamardOf } from './hadamard.ts';
export { changedStatistic, type InputChange, inputChanges, kindBefore } from './inputs.ts';
export { applyOperations, type RowSpan, rowsTogether, type TensorOperation } from './operations.ts';
export { hessianOf, OutputLoss } from './output-loss.ts';
export { type QuarotOptions, quarot } from './quarot.ts';
export { rewrittenSpec, rewrittenWeights, sourceTensor } from './rewritten.ts';
export {
  applyStrided,
  MAX_ORTHOGONAL,
  orthogonalMatrix,
  type Rotation,
  type RotationFactors,
  type Rotator,
  randomRotation,
  randomSigns,
  rotationFactors,
  rotationMatrix,
  rotator,
} from './rotation.ts';
export { type AwqGrid, awqRoundTrip, type RoundTrip, schemeRoundTrip } from './round-trip.ts';
export { type SinqFoldOptions, sinqFolds } from './sinq.ts';
export { columnMax, type SmoothQuantOptions, smoothQuant, smoothScales, type TransformInputs } from './smoothquant.ts';
export type { ModelRewrite, OnlineRotation, Skipped } from './types.ts';
