export { openBag } from './bag.ts';
export { isSidecar, openHuggingFace, quantizationConfigNames } from './huggingface.ts';
export { JsonScanner, parseJsonObject } from './json.ts';
export { type Location, openCheckpoint } from './open.ts';
export { bytesOfRow, readRows, readTensor } from './tensors.ts';
export type * from './types.ts';
