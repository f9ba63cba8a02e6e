import type { QuantizedTile } from '../quantized/types.ts';

/**
 * Puts back what a tile keeps apart at high precision, in this order: outlier columns replace the decoded ones (LLM.int8),
 * a low-rank product a·b is added (a [to - from, r], b [r, cols]), sparse values replace (SpQR, SqueezeLLM: outliers leave
 * the dense part). Rows of `sparse` and of `columns` count from the tile's first row.
 * @param x [to - from, cols], changed in place
 */
export function addKeptApart(tile: QuantizedTile, x: Float32Array): void {
  const cols = tile.shape[1];
  const rows = tile.to - tile.from;
  const { columns, lowRank, sparse } = tile;
  if (columns) {
    const { index, value } = columns; // value: [to - from, index.length]
    for (let r = 0; r < rows; r++) {
      for (let j = 0; j < index.length; j++) x[r * cols + index[j]!] = value[r * index.length + j]!;
    }
  }
  if (lowRank) {
    const { a, b } = lowRank;
    const rank = b.length / cols;
    for (let r = 0; r < rows; r++) {
      for (let k = 0; k < rank; k++) {
        const factor = a[r * rank + k]!;
        for (let c = 0; c < cols; c++) x[r * cols + c]! += factor * b[k * cols + c]!;
      }
    }
  }
  if (sparse) {
    for (let i = 0; i < sparse.value.length; i++) x[sparse.row[i]! * cols + sparse.col[i]!] = sparse.value[i]!;
  }
}
