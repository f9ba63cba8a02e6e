export * from './limits.ts';
export { DEFAULT_ALIGNMENT, type GgufFile, readGguf } from './read.ts';
export { type GgufModel, openGguf, type Sibling, splitFileName } from './split.ts';
export { type GgufLayout, type GgufTensorHead, layoutGguf, writeGguf } from './write.ts';
