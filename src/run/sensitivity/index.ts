export { changeOf, checkSensitivities, measureSensitivities, type SensitivityOptions } from './measure.ts';
export { type Change, type Divergence, Trial } from './trial.ts';
export { type SensitivityWindows, sensitivityWindows } from './windows.ts';
