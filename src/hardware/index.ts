export {
  type ActivationOptions,
  inferenceActivationBytes,
  layerTrainingValues,
  type TrainingOptions,
  trainingActivationBytes,
} from './activations.ts';
export { type Loader, loaders, loadPeakBytes, maxBatch, maxContext, type Running, runningBytes } from './capacity.ts';
export { resnetConvolution } from './data/convolution.ts';
export { energy45nm } from './data/energy-45nm.ts';
export { machines } from './data/machines.ts';
export {
  type DecoderSize,
  type DecoderWork,
  decoderOf,
  decoderSize,
  decodeWork,
  type Phase,
  prefillWork,
  storedBytes,
} from './decoder-work.ts';
export {
  type Energy,
  type EnergyOperation,
  type EnergyOptions,
  type EnergyWork,
  energyOf,
  energyOperations,
  type LinearShape,
  layerEnergy,
  macsPerSquareMillimetre,
  tokenEnergy,
} from './energy.ts';
export type { ByOperation, EnergyTable, Operand } from './energy-table.ts';
export { apart, type Expectation, type Reason, reasonsOf, type StepFacts, withOverhead } from './expectation.ts';
export { adapterParameters, type FinetuneBytes, type FinetuneKind, type FinetuneOptions, finetuneBytes } from './finetune.ts';
export { type KvGeometry, type KvStorage, kvBytesPerToken, kvCacheBytes, kvGeometry, kvGrowth } from './kv-cache.ts';
export * from './mac/index.ts';
export { type Machine, type MachineKind, machineKinds, machineNamed, rateOf } from './machine.ts';
export { type ComputeType, computeTypes, type Precision, precisionOf, precisions } from './precision.ts';
export {
  type Bound,
  convolutionWork,
  type DecoderPhase,
  type DecoderRoofline,
  decoderRoofline,
  type Roofline,
  roofline,
  type Work,
} from './roofline.ts';
export { nf4, nf4Double, type WeightStorage } from './storage.ts';
export {
  largestTensorBytes,
  type ModelStorage,
  matrixBytes,
  modelWeightBytes,
  type ParameterCount,
  parameterCount,
  type WeightBytes,
  weightBytes,
} from './weights.ts';
