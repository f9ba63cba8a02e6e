export {
  type Int8Input,
  type Int8Rows,
  int8Input,
  int8Product,
  int8Rows,
  int8Tile,
  type LlmInt8Options,
  type LlmInt8Output,
  llmInt8Linear,
} from './llm-int8.ts';
export { type LowRank, type LowRankOptions, lowRankOf, quantizeLowRank, residualOf, withLowRank } from './low-rank.ts';
export { outlierColumns, outliersByMagnitude, outliersBySensitivity, saliency, sensitivityThreshold } from './outliers.ts';
export { type Apart, type ApartOptions, quantizeApart } from './set-apart.ts';
export { type SpqrOptions, type SpqrTile, spqrBits, spqrRows } from './spqr.ts';
export type { QuantizedLevels } from './spqr-levels.ts';
export { columnMoments, type DeadLast, deadInputsLast, spqrThreshold } from './spqr-threshold.ts';
export { type Svd, truncatedSvd } from './svd.ts';
export type { InputWeighting } from './weighting.ts';
