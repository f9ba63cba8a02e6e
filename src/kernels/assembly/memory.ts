/** Where the arena of ../kernels.ts may start: behind all static data. */
export function heap_base(): usize {
  return __heap_base;
}
