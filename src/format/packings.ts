/** How quantized tensors lie in the fields of containers: one row a layout. */

import type { PackingName, TileForm } from '../quantized/form.ts';
import type { QuantizedTile } from '../quantized/types.ts';
import { compressedTensors, compressedTensorsWords, int8 } from './compressed-tensors/pack.ts';
import type { FieldSize } from './field-ranges.ts';
import { gptq, gptqV2 } from './gptq/pack.ts';
import { dense } from './tile-fields.ts';

/** Rows [from, to) of which tensor; `name` for messages. */
export interface TileRange {
  name?: string;
  rows: number;
  cols: number;
  from: number;
  to: number;
}

export interface Packing {
  /** Rows whose values share a word: a tile holds a multiple of them. */
  rowMultiple(form: TileForm): number;
  /** Bytes of each field of a tensor of these rows and columns. */
  sizes(form: TileForm, rows: number, cols: number): Record<string, FieldSize>;
  /** The bytes of each field, as `readField` gives them. */
  pack(tile: QuantizedTile, form: TileForm): Record<string, Uint8Array>;
  /** @throws FormatError when the bytes say what the form rules out. */
  unpack(form: TileForm, fields: Record<string, Uint8Array>, range: TileRange): QuantizedTile;
}

const packings: Readonly<Record<PackingName, Packing>> = {
  dense,
  gptq,
  gptq_v2: gptqV2,
  'compressed-tensors': compressedTensors,
  'compressed-tensors-words': compressedTensorsWords,
  int8,
};

export function packingOf({ packing }: TileForm): Packing {
  return packings[packing ?? 'dense'];
}

export function packTile(tile: QuantizedTile, form: TileForm): Record<string, Uint8Array> {
  return packingOf(form).pack(tile, form);
}

export function unpackTile(form: TileForm, fields: Record<string, Uint8Array>, range: TileRange): QuantizedTile {
  return packingOf(form).unpack(form, fields, range);
}
