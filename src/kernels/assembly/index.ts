// The kernels' exports. Each file holds one family; see ../kernels.ts for the calling convention.
export * from './convert';
export * from './divergence';
export * from './memory';
export * from './f8';
export * from './iq4_nl';
export * from './iq4_xs';
export * from './q4_0';
export * from './q4_1';
export * from './q5_0';
export * from './q5_1';
export * from './q8_0';
export * from './reductions';
export * from './q2_k';
export * from './q3_k';
export * from './q4_k';
export * from './q5_k';
export * from './q6_k';
