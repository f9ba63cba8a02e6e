/** What a decoder multiplies and moves for a prompt and for a token: the counts that energy and roofline start from. */
import type { ModelSpec } from '../model/index.ts';
import { type KvGeometry, type KvStorage, kvCacheBytes } from './kv-cache.ts';
import type { Precision } from './precision.ts';
import { modelWeightBytes, parameterCount, weightBytes } from './weights.ts';

/** A model, or as much of one as is known: `parameters` alone are all multiplied with every token. */
export interface DecoderSize {
  parameters: number;
  /** Multiplied with every token. */
  multiplied: number;
  /** Of these, the output matrix: a prompt multiplies it with its last token only. */
  output: number;
  /** Missing: no attention and no cache. */
  attention?: Pick<ModelSpec, 'layers' | 'heads' | 'kvHeads' | 'headDim'>;
  spec?: ModelSpec;
}

export function decoderSize(spec: ModelSpec): DecoderSize {
  const { all, multiplied, output } = parameterCount(spec);
  return { parameters: all, multiplied, output, attention: spec, spec };
}

export function decoderOf(parameters: number, attention?: DecoderSize['attention']): DecoderSize {
  return { parameters, multiplied: parameters, output: 0, ...(attention && { attention }) };
}

export interface DecoderWork {
  macs: number;
  /** Bytes from and to memory. */
  weightBytes: number;
  cacheBytes: number;
  /** Weights that become floats before they are multiplied; 0 where integers are. */
  dequantized: number;
}

export interface Phase {
  /** Tokens of a prompt; tokens before the one that is generated. */
  tokens: number;
  batch?: number;
  cache?: KvStorage;
}

/** One token for each sequence of the batch: all weights and all of the cache are read once, new keys and values are written. */
export function decodeWork(size: DecoderSize, precision: Precision, { tokens, batch = 1, cache }: Phase): DecoderWork {
  const { attention } = size;
  const looks = attention ? 2 * attention.layers * attention.heads * attention.headDim * (tokens + 1) : 0;
  return {
    macs: batch * (size.multiplied + looks),
    weightBytes: readBytes(size, precision),
    cacheBytes: cacheBytes(attention, tokens + 1, batch, cache),
    dequantized: dequantizedOf(size, precision),
  };
}

/** All tokens of a prompt at once; token t attends to the t tokens up to itself. Keys and values are written. */
export function prefillWork(size: DecoderSize, precision: Precision, { tokens, batch = 1, cache }: Phase): DecoderWork {
  const { attention } = size;
  const looks = attention ? (2 * attention.layers * attention.heads * attention.headDim * tokens * (tokens + 1)) / 2 : 0;
  return {
    macs: batch * (tokens * (size.multiplied - size.output) + size.output + looks),
    weightBytes: readBytes(size, precision),
    cacheBytes: cacheBytes(attention, tokens, batch, cache),
    dequantized: dequantizedOf(size, precision),
  };
}

/** Bytes of all weights, those of the embedding too. */
export function storedBytes({ spec, parameters }: DecoderSize, precision: Precision): number {
  const { storage, roles } = precision;
  return spec
    ? modelWeightBytes(spec, { ...storage, ...(roles && { roles }), keptBits: keptBits(precision) }).bytes
    : weightBytes(parameters, storage).bytes;
}

function keptBits({ storage, keptBits = Math.max(16, storage.bits) }: Precision): number {
  return keptBits;
}

/** Without the embedding, of which a token reads one row. */
function readBytes(size: DecoderSize, precision: Precision): number {
  const lookedUp = size.spec ? parameterCount(size.spec).lookedUp : 0;
  return storedBytes(size, precision) - (lookedUp * keptBits(precision)) / 8;
}

function dequantizedOf({ multiplied, output }: DecoderSize, { storage, compute }: Precision): number {
  return compute.startsWith('fp') && storage.bits < 16 ? multiplied - output : 0;
}

function cacheBytes(attention: DecoderSize['attention'], tokens: number, batch: number, cache?: KvStorage): number {
  if (!attention) return 0;
  const geometry: KvGeometry = { layers: attention.layers, kvHeads: attention.kvHeads, headDim: attention.headDim, batch };
  return kvCacheBytes(geometry, tokens, cache);
}
