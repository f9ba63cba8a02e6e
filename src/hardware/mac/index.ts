export { codeRange, initialSums } from './accumulate.ts';
export { macCycles, runMacArray } from './array.ts';
export { type ConvolutionShape, convolutionLayer, convolutionOutput, im2col } from './im2col.ts';
export { type FixedPoint, fixedPointOf, multiplyByFixedPoint, type Requantization, requantize } from './requantize.ts';
export { countCycles, macSteps } from './schedule.ts';
export type {
  CycleKind,
  Dataflow,
  FloatArithmetic,
  IntegerArithmetic,
  IntegerCodes,
  MacArithmetic,
  MacArray,
  MacCycle,
  MacLayer,
  MacRun,
  MacStep,
} from './types.ts';
export { type AccumulatorWidths, accumulatorWidths, neededBits } from './width.ts';
