export { type Architecture, type FoldPair, noBias, type TensorRow, type TensorTable } from './architecture.ts';
export { architectureOf, architectures } from './architectures/index.ts';
export { ggufRow, huggingFaceRow, permuteIndex, unpermuteIndex } from './permute.ts';
export { readSpec } from './read-config.ts';
export { readGgufSpec, type Shapes } from './read-gguf.ts';
export { type Frequencies, ggufRopeFactors, ropeFrequencies } from './rope.ts';
export { type Match, matchTensors, modelTensors, numbered } from './tensors.ts';
export { type ModelSpec, type ModelTensor, type Role, type Rope, type RopeScaling, roleGroups } from './types.ts';
