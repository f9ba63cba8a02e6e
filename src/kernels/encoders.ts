/**
 * The table of block types this floor can encode: the slow, obvious reference of each, and what it does with an importance
 * matrix. The WebAssembly twins are `encode_<type>` and `decode_<type>`; tests compare both with ggml's own bytes.
 */

import { iq4_nl } from './ref/iq4_nl.ref.ts';
import { iq4_xs } from './ref/iq4_xs.ref.ts';
import { mxfp4 } from './ref/mxfp4.ref.ts';
import { nvfp4 } from './ref/nvfp4.ref.ts';
import { bf16, f16, f32 } from './ref/plain.ref.ts';
import { q1_0 } from './ref/q1_0.ref.ts';
import { q2_0 } from './ref/q2_0.ref.ts';
import { q2_k } from './ref/q2_k.ref.ts';
import { q3_k } from './ref/q3_k.ref.ts';
import { q4_0 } from './ref/q4_0.ref.ts';
import { q4_1 } from './ref/q4_1.ref.ts';
import { q4_k } from './ref/q4_k.ref.ts';
import { q5_0 } from './ref/q5_0.ref.ts';
import { q5_1 } from './ref/q5_1.ref.ts';
import { q5_k } from './ref/q5_k.ref.ts';
import { q6_k } from './ref/q6_k.ref.ts';
import { q8_0 } from './ref/q8_0.ref.ts';
import { searchedEncoders } from './ref/search/searched.ref.ts';
import { tq1_0 } from './ref/tq1_0.ref.ts';
import { tq2_0 } from './ref/tq2_0.ref.ts';

export interface BlockReference {
  /** x: [rows, cols], weights: [cols] (one importance matrix row); returns the blocks of all rows. */
  encode(x: Float32Array, cols: number, weights?: Float32Array): Uint8Array;
  /** n: number of values. */
  decode(bytes: Uint8Array, n: number): Float32Array;
}

/** exact: ggml's bytes; search: the same layout, scales and codes fitted to the (weighted) squared error. */
export type Encoder = 'exact' | 'search';

export interface BlockType {
  ref: BlockReference;
  /** required: encoding without one is refused; used: it changes bytes; ignored: it has no effect. */
  imatrix: 'used' | 'ignored' | 'required';
}

export const blockTypes: Record<string, BlockType> = {
  f32: { ref: f32, imatrix: 'ignored' },
  f16: { ref: f16, imatrix: 'ignored' },
  bf16: { ref: bf16, imatrix: 'ignored' },
  q4_0: { ref: q4_0, imatrix: 'used' },
  q4_1: { ref: q4_1, imatrix: 'used' },
  q5_0: { ref: q5_0, imatrix: 'used' },
  q5_1: { ref: q5_1, imatrix: 'used' },
  q8_0: { ref: q8_0, imatrix: 'ignored' },
  q2_k: { ref: q2_k, imatrix: 'used' },
  q3_k: { ref: q3_k, imatrix: 'used' },
  q4_k: { ref: q4_k, imatrix: 'used' },
  q5_k: { ref: q5_k, imatrix: 'used' },
  q6_k: { ref: q6_k, imatrix: 'used' },
  iq4_nl: { ref: iq4_nl, imatrix: 'used' },
  iq4_xs: { ref: iq4_xs, imatrix: 'used' },
  mxfp4: { ref: mxfp4, imatrix: 'ignored' },
  nvfp4: { ref: nvfp4, imatrix: 'ignored' },
  tq1_0: { ref: tq1_0, imatrix: 'ignored' },
  tq2_0: { ref: tq2_0, imatrix: 'ignored' },
  q1_0: { ref: q1_0, imatrix: 'ignored' },
  q2_0: { ref: q2_0, imatrix: 'ignored' },
};

/** Whether `search` encodes the type in a way of its own; other types have nothing to search. */
export function isSearched(type: string): boolean {
  return Object.hasOwn(searchedEncoders, type);
}

/** The kernel that encodes a type. */
export function encoderName(type: string, encoder: Encoder): string {
  return encoder === 'search' && isSearched(type) ? `search_${type}` : `encode_${type}`;
}
