export * from './storage.ts';
export * from './tensor.ts';
export * from './values.ts';
