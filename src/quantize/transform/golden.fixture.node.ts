/** Golden files of the transforms, and the tiny Llamas in them. */
import { readFileSync } from 'node:fs';
import type { ModelSpec } from '../../model/types.ts';
import type { StorageType } from '../../tensor/storage.ts';
import { toF32 } from '../../tensor/values.ts';

const golden = new URL('../../../test/golden/methods/', import.meta.url);
const dtypes: Record<string, StorageType> = { F32: 'f32', F16: 'f16', I32: 'i32', U8: 'u8' };

export interface Golden<Facts> {
  readonly facts: Facts;
  readonly names: readonly string[];
  tensor(key: string): Float32Array;
  shape(key: string): number[];
}

/** @param name 'quarot/hadamard' */
export function readGolden<Facts>(name: string): Golden<Facts> {
  const file = readFileSync(new URL(`${name}.safetensors`, golden));
  const end = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, end));
  return {
    facts: JSON.parse(readFileSync(new URL(`${name}.json`, golden), 'utf8')) as Facts,
    names: Object.keys(header).filter((key) => key !== '__metadata__'),
    shape: (key) => header[key].shape,
    tensor(key) {
      const { dtype, data_offsets } = header[key];
      const bytes = Uint8Array.from(file.subarray(end + data_offsets[0], end + data_offsets[1]));
      return dtype === 'I8' ? Float32Array.from(new Int8Array(bytes.buffer)) : toF32(dtypes[dtype]!, bytes);
    },
  };
}

export interface LlamaFacts {
  hidden: number;
  inter: number;
  heads: number;
  kv_heads: number;
  layers: number;
  vocab: number;
  rope_theta: number;
  rms_norm_eps: number;
}

export function llamaSpec(facts: LlamaFacts): ModelSpec {
  const headDim = facts.hidden / facts.heads;
  return {
    architecture: 'llama',
    hidden: facts.hidden,
    intermediate: facts.inter,
    layers: facts.layers,
    heads: facts.heads,
    kvHeads: facts.kv_heads,
    headDim,
    vocab: facts.vocab,
    context: 512,
    normEpsilon: facts.rms_norm_eps,
    rope: { dims: headDim, base: facts.rope_theta, scaling: { kind: 'none' } },
    tied: false,
    bias: { q: false, k: false, v: false, o: false, gate: false, up: false, down: false },
    qkNorm: false,
    window: Array.from({ length: facts.layers }, () => undefined),
  };
}

/** Tensors whose names start with `prefix`, without it. */
export function withPrefix<F>(source: Golden<F>, prefix: string): Map<string, Float32Array> {
  const own = source.names.filter((name) => name.startsWith(prefix));
  return new Map(own.map((name) => [name.slice(prefix.length), source.tensor(name)]));
}

/** Largest |a - b|; NaN counts as infinite. */
export function worst(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs(a[i]! - b[i]!);
    if (!(d <= most)) most = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d;
  }
  return most;
}

/** Largest |a - b| / |b|; 0 where both are 0. */
export function worstRelative(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return worst(
    Float64Array.from(a, (x, i) => (x === b[i]! ? 0 : (x - b[i]!) / Math.abs(b[i]!))),
    new Float64Array(a.length),
  );
}
