// The kernels' exports. Each file holds one family; see ../kernels.ts for the calling convention.
export * from './convert';
