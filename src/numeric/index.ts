export * from './bf16.ts';
export * from './f16.ts';
export * from './float.ts';
export * from './minifloat.ts';
export * from './pack.ts';
export * from './random.ts';
export * from './rounding.ts';
