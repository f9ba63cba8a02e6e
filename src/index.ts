/** fewbits: the quantization workbench for large language models. Everything the command line does is here. */

export type { Location } from './checkpoint/index.ts';
export * from './errors.ts';
export type { Comparison, EvaluateOptions, GenerateOptions, Generation, Perplexity } from './evaluate/index.ts';
export { compare, evaluate, generate } from './evaluate/index.ts';
export type { Container, ContainerName, Model, WeightTensor } from './format/index.ts';
export { bitsPerWeight, containers, open } from './format/index.ts';
export type { Decoder, LanguageModel } from './graph/index.ts';
export type { MacArray, Machine, MacLayer } from './hardware/index.ts';
export {
  decoderRoofline,
  finetuneBytes,
  kvCacheBytes,
  machines,
  modelWeightBytes,
  runMacArray,
  tokenEnergy,
  weightBytes,
} from './hardware/index.ts';
export { diskStore, MemoryStore, memorySource } from './io/index.ts';
export type { ByteSink, ByteSource, Store } from './io/types.ts';
export type { IntegerScheme, Scheme } from './quantize/index.ts';
export { dequantizeTile, fakeQuantize, quantizeMatrix } from './quantize/index.ts';
export type { QuantizedModel, QuantizedTile } from './quantized/index.ts';
export type { Plan, PlanOptions, QuantizeOptions, Recipe, RecipeInput } from './recipe/index.ts';
export { parseRecipe, plan, recipeFromOptions } from './recipe/index.ts';
export type { CalibrationWindows, Coverage, LayerWalk, Report, RunOptions, Verification } from './run/index.ts';
export {
  calibrationWindows,
  collectStatistics,
  convertRecipe,
  importanceFrom,
  languageModel,
  openStatistics,
  openWalk,
  run,
  verify,
} from './run/index.ts';
export type { Tokenizer } from './tokenizer/index.ts';
export { VERSION } from './version.ts';
