export type * from './form.ts';
export type * from './types.ts';
