export { type ChatTemplate, chatTemplateOf } from './chat.ts';
export { type CollectOptions, calibratedInputs, collectStatistics, type LayerRange } from './collect.ts';
export type { Coverage, InputCoverage } from './coverage.ts';
export { utf8Text } from './documents.ts';
export { sampleCount } from './sums.ts';
export type { CapturedInput, LayerWalk } from './types.ts';
export { openWalk, type WalkOptions, type WalkProgress } from './walk.ts';
export { type CalibrationOptions, type CalibrationWindows, calibrationWindows } from './windows.ts';
