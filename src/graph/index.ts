export { GraphBuilder, type NodeOptions, type ValueName } from './builder.ts';
export {
  type DynamicLinear,
  type DynamicLinears,
  dynamicInput,
  dynamicLinears,
  type InputBytes,
} from './dynamic-linears.ts';
export { type EncodedGraph, type ExternalData, encodeGraph } from './encode.ts';
export { buildCross, buildGram, buildReductions, gramRows, type Reduction } from './gram.ts';
export { type IntegerLinear, type IntegerLinears, integerLinears } from './integer-linears.ts';
export type { Attribute, Constant, Dimension, ElementType, Graph, GraphNode, GraphValue } from './ir.ts';
export { bytesOf } from './ir.ts';
export { checkIds, type LanguageModelOptions, type LoadedLanguageModel, loadLanguageModel } from './language-model.ts';
export { layerRunBytes, sequencesOfRun } from './layer-runs.ts';
export { type Linear, linearsOf } from './linears.ts';
export {
  buildHead,
  buildLayer,
  buildModel,
  headWeight,
  layerPrefix,
  type ModelOptions,
  type ModelOutput,
  maskName,
} from './model.ts';
export type { Backend, RuntimeOptions } from './onnx-runtime.ts';
export { PackedCache, packCache } from './packed-cache.ts';
export { type FewBitsProduct, fewBitsProduct, type PackedLinear, type PackedLinears, packedLinears } from './packed-linears.ts';
export { applyPasses, bindWeights, type Pass } from './passes.ts';
export { positionFeeds } from './positions.ts';
export { cacheFeeds, quantizeCache } from './quantize-cache.ts';
export { type InputSchemes, quantizeInputs } from './quantize-inputs.ts';
export { rotateLayer, rotateOnline } from './rotate-online.ts';
export { createSession } from './session.ts';
export { keepOutputs, showValue, type Tapped, tapInputs } from './taps.ts';
export type { Decoder, GraphSession, GraphTensor, LanguageModel, WeightReader } from './types.ts';
