/**
 * The graph in memory: plain data with the meaning of ONNX, which passes read and rewrite, and which `encodeGraph` turns into
 * a ModelProto. Values have names; a node is found by its name (linear layers carry the name of their module, so
 * 'model.layers.0.self_attn.q_proj' is the node whose weight is 'model.layers.0.self_attn.q_proj.weight').
 */
export type ElementType = 'f32' | 'f16' | 'i64' | 'i32' | 'i8' | 'u8' | 'i4' | 'u4' | 'bool';

/** A dimension is a number, or the name of one that is known at run time. */
export type Dimension = number | string;

/** A value with a declared type: an input or an output of the graph. */
export interface GraphValue {
  readonly name: string;
  readonly type: ElementType;
  readonly dims: readonly Dimension[];
  /** An input that is a weight of the model, called as in the checkpoint; `bindWeights` can make it a constant. */
  readonly weight?: boolean;
}

/** A tensor that is part of the program. `bytes` are little-endian and row-major. */
export interface Constant {
  readonly type: ElementType;
  readonly dims: readonly number[];
  readonly bytes: Uint8Array;
}

/** ONNX keeps integers and floats apart, so an attribute names its kind. */
export type Attribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly string: string }
  | { readonly ints: readonly number[] }
  | { readonly floats: readonly number[] };

export interface GraphNode {
  readonly name: string;
  readonly op: string;
  /** Operator set; '' = ONNX itself. */
  readonly domain: string;
  /** Names of values; '' = an optional input left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface Graph {
  readonly name: string;
  readonly inputs: readonly GraphValue[];
  readonly outputs: readonly GraphValue[];
  /** In an order in which they can be computed. */
  readonly nodes: readonly GraphNode[];
  readonly constants: ReadonlyMap<string, Constant>;
}

/** The bytes of a typed array, without a copy. */
export function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
