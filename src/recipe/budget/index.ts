export { fittable } from './candidates.ts';
export { parseSensitivities } from './document.ts';
export { type Budget, type Fitted, fitLoss, fitTo, type PriceList, priceList } from './fit.ts';
export { tensorGroups } from './groups.ts';
export { type Assignment, rulesFor } from './rules.ts';
export { type Choice, type Solution, solve, solveForLoss } from './solve.ts';
export type { ErrorMeasure, GroupSensitivity, Sensitivities, TensorGroup } from './types.ts';
