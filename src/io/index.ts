export { diskStore, openFile, openFileSink, splitPath, statPath } from '#io/disk';
export { blobSource } from './blob.ts';
export { MAX_LISTED_FILES, MAX_READ_BYTES } from './limits.ts';
export { MemoryStore, memorySink, memorySource } from './memory.ts';
export { openSink, openSource } from './open.ts';
export { checkRange, read } from './range.ts';
export type * from './types.ts';
export { openUrl, openUrlIfThere, type UrlOptions } from './url.ts';
