export { conventions } from './conventions.ts';
export { fingerprint } from './fingerprint.ts';
export { type FileType, fileTypeNamed, fileTypes, isFileType } from './gguf/types.ts';
export { bitsPerWeight, open, understand } from './open.ts';
export { containers } from './registry.ts';
export type * from './types.ts';
