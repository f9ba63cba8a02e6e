export { changeOf, checkSensitivities, measureSensitivities, type SensitivityOptions, sensitivityWarnings } from './measure.ts';
export { type Recommendation, type Recommendations, type RecommendOptions, recommend } from './recommend.ts';
export { type Runtime, runtimeNamed, runtimes } from './runtimes.ts';
export { type Change, type Divergence, Trial } from './trial.ts';
export { type SensitivityWindows, sensitivityWindows } from './windows.ts';
