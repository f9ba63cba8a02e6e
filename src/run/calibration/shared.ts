/** Zeros, in memory that workers get without a copy, where there is such. */
export function shared(count: number): Float32Array {
  return new Float32Array(
    typeof SharedArrayBuffer === 'undefined' ? new ArrayBuffer(4 * count) : new SharedArrayBuffer(4 * count),
  );
}
