export { type Comparison, compare, compareTexts, type ModelComparison, type TextsComparison } from './compare.ts';
export { type PairScore, PairScorer } from './divergence.ts';
export { type GenerateOptions, type Generation, generate } from './generate.ts';
export { type EvaluateOptions, evaluate, type Perplexity } from './perplexity.ts';
export * from './plot/index.ts';
export { likeliest, type SampleOptions, sample } from './sample.ts';
export { quantile, RunningMean } from './statistics.ts';
export {
  type GridErrors,
  measureTile,
  type TensorError,
  type TileErrors,
  type TileRows,
  tensorError,
  worstTensors,
} from './tensor-report.ts';
export { TextStream } from './text-stream.ts';
export { type Batch, type Protocol, type Reading, readText, type Window, type WindowOptions } from './windows.ts';
