export { dequantizeGroups, type KvArithmetic, type KvGroups, packCodes, quantizeGroups, unpackCodes } from './groups.ts';
export { rotateRows, sylvester } from './hadamard.ts';
export { type KvPresetName, kvPreset, kvPresets } from './presets.ts';
export { RequantizedCache } from './requantized-cache.ts';
export { checkKvScheme, type KvShape, kvBitsPerValue, kvBlock, kvBytes, quantizedBefore } from './scheme.ts';
