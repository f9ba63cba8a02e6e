/** What the codes of a tile stand for, in ascending order: feedback halves the list, descent walks along it. */
import type { Grid, QuantizedTile } from '../../quantized/types.ts';
import { gridTable } from '../dequantize.ts';
import { tableOfValues } from '../grid/nearest.ts';

/** One list for all rows, or one for each. A place is where a value stands in its list. */
export interface CodeLists {
  /** Values of a list: a power of two; a shorter one repeats its last. */
  size: number;
  /** Lists: 1, or one a row. */
  count: number;
  /** [count, size] */
  values: Float32Array;
  /** [count, size]: the code of each place. */
  codes: Uint8Array;
  /** [count, size]: the place of each code. */
  places: Uint8Array;
}

/** Of codes of up to 8 bits; undefined where a code does not stand for one value of its row (vectors, books of columns, blocks). */
export function codeLists({ grid, shape, from, to }: QuantizedTile): CodeLists | undefined {
  const table = gridTable(grid);
  if (table) return table.length <= 256 ? listsOf(table, 1) : undefined;
  if (!isBookOfRow(grid)) return undefined;
  const { rows } = grid.per;
  if (rows !== 1 && !(rows === shape[0] && from === 0 && to === rows)) return undefined;
  return listsOf(grid.values, rows === 1 ? to - from : 1);
}

function isBookOfRow(grid: Grid): grid is Extract<Grid, { kind: 'codebook' }> & { per: { rows: number; cols: number } } {
  return grid.kind === 'codebook' && grid.dim === 1 && 'rows' in grid.per && grid.per.cols === 0;
}

/** values: [count, n], by code. Of codes with one value the lowest stands for all; infinities and NaN are none. */
function listsOf(values: Float32Array, count: number): CodeLists {
  const n = values.length / count;
  const size = 2 ** Math.ceil(Math.log2(n));
  const bytes = () => new Uint8Array(count * size);
  const lists = { size, count, values: new Float32Array(count * size), codes: bytes(), places: bytes() };
  for (let i = 0; i < count; i++) {
    const own = values.subarray(i * n, (i + 1) * n);
    const { values: sorted, codes } = tableOfValues(own);
    for (let place = 0; place < size; place++) {
      const at = Math.min(place, sorted.length - 1);
      lists.values[i * size + place] = sorted[at]!;
      lists.codes[i * size + place] = codes[at]!;
    }
    const list = lists.values.subarray(i * size, (i + 1) * size);
    for (const [code, value] of own.entries()) lists.places[i * size + code] = Math.max(0, list.indexOf(value));
  }
  return lists;
}

/** Codes [rows, cols] by their places in the lists. */
export function codesAt(places: Uint8Array, { size, count, codes }: CodeLists, cols: number): Uint8Array {
  return places.map((place, i) => codes[(count === 1 ? 0 : Math.floor(i / cols) * size) + place]!);
}

/** Places [rows, cols] of codes; codes of one value have one place. */
export function placesOf(codes: Uint8Array, { size, count, places }: CodeLists, cols: number): Uint8Array {
  return codes.map((code, i) => places[(count === 1 ? 0 : Math.floor(i / cols) * size) + code]!);
}
