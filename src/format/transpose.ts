/** [rows, cols] -> [cols, rows], in blocks that fit a core's cache. */
export function transpose<T extends Uint32Array | Uint16Array | Uint8Array>(from: T, rows: number, cols: number): T {
  const out = new (from.constructor as new (length: number) => T)(from.length);
  for (let top = 0; top < rows; top += BLOCK) {
    const bottom = Math.min(rows, top + BLOCK);
    for (let left = 0; left < cols; left += BLOCK) {
      const right = Math.min(cols, left + BLOCK);
      for (let r = top; r < bottom; r++) for (let c = left; c < right; c++) out[c * rows + r] = from[r * cols + c]!;
    }
  }
  return out;
}

const BLOCK = 32;
