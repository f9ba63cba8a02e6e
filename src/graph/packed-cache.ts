/**
 * A cache that holds keys and values in few bits: the pass that makes a decoder read packed codes, and the buffers it reads. Tokens
 * are decoded inside the graph, layer by layer, so that no decoded copy of the cache outlives a step.
 */
import type { ModelSpec } from '../model/types.ts';
import { decodeF16, encodeF16 } from '../numeric/f16.ts';
import { minifloats, minifloatValues } from '../numeric/minifloat.ts';
import { packCodes, quantizeGroups } from '../quantize/kv/groups.ts';
import { rotateRows } from '../quantize/kv/hadamard.ts';
import { checkKvScheme, codeBits, hasMinimum, kvBlock, quantizedBefore } from '../quantize/kv/scheme.ts';
import type { KvScheme, KvSide } from '../quantized/types.ts';
import { GraphBuilder, type ValueName } from './builder.ts';
import { type Cache, kinds } from './cache.ts';
import { halfKeysValues } from './half-cache.ts';
import { bytesOf, type Constant, type Graph, type GraphNode, type GraphValue } from './ir.ts';
import { cast } from './number-nodes.ts';
import { hadamardConstant } from './quantize-cache.ts';
import type { GraphTensor } from './types.ts';

/**
 * Replaces the inputs `past.N.key` and `past.N.value` of a decoder by five: `.sinks` and `.recent` f16 [n, B, K, D], `.codes` u8
 * [Q, B, K, D * bits / 8], `.scale` and (where the side has one) `.minimum` f16, [Q / group, B, K, D] per channel and
 * [Q, B, K, D / group] per token.
 * @throws RecipeError for a scheme that the model's heads cannot have
 */
export function packCache(plain: Graph, spec: ModelSpec, scheme: KvScheme): Graph {
  checkKvScheme(scheme, spec.headDim);
  const graph = halfKeysValues(plain);
  const nodes: GraphNode[] = [];
  const constants = new Map<string, Constant>(graph.constants);
  const inputs: GraphValue[] = [];
  for (const input of graph.inputs) {
    const kind = kinds.find((one) => new RegExp(`^past\\.\\d+\\.${one}$`).test(input.name));
    if (!kind) {
      inputs.push(input);
      continue;
    }
    const b = new GraphBuilder(input.name);
    b.scoped(input.name, () => unpack(b, input.name, scheme[kind], scheme, spec));
    const part = b.build();
    inputs.push(...part.inputs);
    nodes.push(...part.nodes);
    for (const [name, constant] of part.constants) constants.set(name, constant);
  }
  return { ...graph, inputs, nodes: [...nodes, ...graph.nodes], constants };
}

/** Writes `name` [P, B, K, D]: sinks, decoded tokens and recent ones in their order. */
function unpack(b: GraphBuilder, name: string, side: KvSide, { hadamard }: KvScheme, { kvHeads, headDim }: ModelSpec): void {
  const exact = (what: string) => cast(b, b.input(`${name}.${what}`, 'f16', [`${name}.${what}.n`, 'B', kvHeads, headDim]), 'f32');
  const shared = (what: string) => {
    const width = side.per === 'token' ? headDim / side.group : headDim;
    return cast(b, b.input(`${name}.${what}`, 'f16', [`${name}.groups`, 'B', kvHeads, width]), 'f32');
  };
  const [sinks, recent] = [exact('sinks'), exact('recent')];
  const bits = codeBits(side);
  const packed = b.input(`${name}.codes`, 'u8', [`${name}.quantized`, 'B', kvHeads, (headDim * bits) / 8]);
  const codes = values(b, packed, side, kvHeads, headDim); // [Q, B, K, D]

  // Scales meet codes with the axis that shares them beside: [Q / group, group, B, K, D] or [Q, B, K, D / group, group].
  const channel = side.per === 'channel';
  const wide = channel
    ? b.reshape(b.unsqueeze(codes, 1), -1, side.group, 0, kvHeads, headDim)
    : b.reshape(codes, 0, 0, kvHeads, headDim / side.group, side.group);
  const axis = channel ? 1 : -1;
  const scaled = b.mul(wide, b.unsqueeze(shared('scale'), axis));
  const decoded = hasMinimum(side) ? b.add(scaled, b.unsqueeze(shared('minimum'), axis)) : scaled;
  const flat = channel
    ? b.squeeze(b.reshape(decoded, -1, 1, 0, kvHeads, headDim), 1)
    : b.reshape(decoded, 0, 0, kvHeads, headDim);
  const quantized = hadamard ? b.matmul(flat, hadamardConstant(b, headDim)) : flat;
  b.node('Concat', [sinks, quantized, recent], { name, attributes: { axis: { int: 0 } } });
}

/** Packed codes u8 [Q, B, K, D * bits / 8] -> what they stand for before scale and minimum, f32 [Q, B, K, D]. */
function values(b: GraphBuilder, packed: ValueName, side: KvSide, kvHeads: number, headDim: number): ValueName {
  if (side.bits === 'fp8') {
    const table = b.shared('e4m3', () => ({ type: 'f32', dims: [256], bytes: bytesOf(minifloatValues(minifloats.e4m3)) }));
    return b.node('Gather', [table, cast(b, packed, 'i32')]);
  }
  const unsigned = side.bits === 8 ? cast(b, packed, 'f32') : spread(b, packed, side.bits, kvHeads, headDim);
  return hasMinimum(side) ? unsigned : b.node('Sub', [unsigned, b.float(2 ** (side.bits - 1))]);
}

function spread(b: GraphBuilder, packed: ValueName, bits: number, kvHeads: number, headDim: number): ValueName {
  const each = 8 / bits;
  const bytes = (name: string, ...all: number[]) =>
    b.shared(name, () => ({ type: 'u8', dims: [all.length], bytes: Uint8Array.from(all) }));
  const shifts = bytes(`shifts.${bits}`, ...Array.from({ length: each }, (_, i) => i * bits));
  const shifted = b.node('BitShift', [b.unsqueeze(packed, -1), shifts], { attributes: { direction: { string: 'RIGHT' } } });
  const codes = b.node('BitwiseAnd', [shifted, bytes(`mask.${bits}`, 2 ** bits - 1)]);
  return b.reshape(cast(b, codes, 'f32'), 0, 0, kvHeads, headDim);
}

/** One side of one layer; all but the codes f16. */
interface Store {
  side: KvSide;
  sinks: Uint16Array;
  recent: Uint16Array;
  codes: Uint8Array;
  scale: Uint16Array;
  minimum: Uint16Array;
}

/** Keys and values in few bits, as the graph of `packCache` reads them. */
export class PackedCache implements Cache {
  readonly #scheme: KvScheme;
  readonly #dims: readonly [batch: number, kvHeads: number, headDim: number];
  readonly #stores = new Map<string, Store>();
  readonly #block: number;
  #length = 0;
  #quantized = 0;

  constructor(spec: ModelSpec, batch: number, scheme: KvScheme) {
    this.#scheme = scheme;
    this.#dims = [batch, spec.kvHeads, spec.headDim];
    this.#block = kvBlock(scheme);
    for (let layer = 0; layer < spec.layers; layer++) {
      for (const kind of kinds) {
        this.#stores.set(`${layer}.${kind}`, {
          side: scheme[kind],
          sinks: new Uint16Array(0),
          recent: new Uint16Array(0),
          codes: new Uint8Array(0),
          scale: new Uint16Array(0),
          minimum: new Uint16Array(0),
        });
      }
    }
  }

  get length(): number {
    return this.#length;
  }

  get bytes(): number {
    let sum = 0;
    for (const { sinks, recent, codes, scale, minimum } of this.#stores.values()) {
      for (const part of [sinks, recent, codes, scale, minimum]) sum += part.byteLength;
    }
    return sum;
  }

  /** Until a block of tokens has left the window of exact ones, which later positions see quantized. */
  get room(): number {
    return this.#scheme.sinks + this.#scheme.residual + this.#quantized + this.#block - this.#length;
  }

  feeds(): Record<string, GraphTensor> {
    const [batch, kvHeads, headDim] = this.#dims;
    const feeds: Record<string, GraphTensor> = {};
    for (const [name, { side, sinks, recent, codes, scale, minimum }] of this.#stores) {
      const tensor = (type: 'f16' | 'u8', last: number, data: Uint8Array | Uint16Array): GraphTensor => ({
        type,
        dims: [data.length / (batch * kvHeads * last), batch, kvHeads, last],
        data,
      });
      const shared = side.per === 'token' ? headDim / side.group : headDim;
      const past = `past.${name}`;
      feeds[`${past}.sinks`] = tensor('f16', headDim, sinks);
      feeds[`${past}.recent`] = tensor('f16', headDim, recent);
      feeds[`${past}.codes`] = tensor('u8', (headDim * codeBits(side)) / 8, codes);
      feeds[`${past}.scale`] = tensor('f16', shared, scale);
      if (hasMinimum(side)) feeds[`${past}.minimum`] = tensor('f16', shared, minimum);
    }
    return feeds;
  }

  append(outputs: Record<string, GraphTensor>, positions: number): void {
    const first = Math.max(0, Math.min(positions, this.#scheme.sinks - this.#length));
    this.#length += positions;
    const leaving = quantizedBefore(this.#scheme, this.#length) - this.#quantized;
    this.#quantized += leaving;
    const stride = this.#dims.reduce((n, d) => n * d, 1);
    for (const [name, store] of this.#stores) {
      // [positions, batch, kvHeads, headDim]
      const fresh = Uint16Array.from(outputs[`new.${name}`]!.data as Float32Array, encodeF16);
      if (first > 0) store.sinks = joined(store.sinks, fresh.subarray(0, first * stride));
      const recent = joined(store.recent, fresh.subarray(first * stride));
      this.#quantize(store, Float32Array.from(recent.subarray(0, leaving * stride), decodeF16), stride);
      store.recent = leaving > 0 ? recent.slice(leaving * stride) : recent;
    }
  }

  /** x: whole blocks [tokens, stride]. */
  #quantize(store: Store, x: Float32Array, stride: number): void {
    if (x.length === 0) return;
    const { side } = store;
    const rotated = this.#scheme.hadamard ? rotateRows(x, this.#dims[2]) : x;
    const { codes, scale, minimum } = quantizeGroups(rotated, stride, side);
    store.codes = joined(store.codes, packCodes(codes, side));
    store.scale = joined(store.scale, Uint16Array.from(scale, encodeF16));
    if (minimum) store.minimum = joined(store.minimum, Uint16Array.from(minimum, encodeF16));
  }
}

/** Exactly as long as what it holds: a cache that counts its bytes keeps no spare room. */
function joined<T extends Uint8Array | Uint16Array>(a: T, b: T): T {
  const out = new (a.constructor as new (n: number) => T)(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
