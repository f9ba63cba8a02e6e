/** The kernels' floor: block types in WebAssembly, their references, reductions, and the worker pool. */
export { decodeRows, encodeRows } from './encode.ts';
export { type BlockReference, type BlockType, blockTypes, type Encoder, encoderName, isSearched } from './encoders.ts';
export { type Kernels, loadKernels } from './kernels.ts';
export { createPool, type Pool, serve, transfer } from './pool.ts';
export { firstBadScale, halfOffsets } from './validate.ts';
export type { Handlers, PortLike, WorkerLike } from './worker-like.ts';
