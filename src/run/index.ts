export { convertRecipe } from './convert.ts';
export { readImportance } from './importance.ts';
export { languageModel } from './language.ts';
export type { ProgressEvent } from './progress.ts';
export type { Report, TensorReport } from './report.ts';
export { type RunOptions, run } from './run.ts';
export { type ValueSummary, valueSummaries } from './values.ts';
export { type Verification, verify } from './verify.ts';
export { weightReader } from './weights.ts';
