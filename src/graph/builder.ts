/**
 * Writes a graph node by node. A value is its name; each helper adds one node and gives the name of its result.
 * Names are unique and stable for a given sequence of calls, so the same model gives the same bytes.
 */
import { FewbitsError } from '../errors.ts';
import {
  type Attribute,
  bytesOf,
  type Constant,
  type Dimension,
  type ElementType,
  type Graph,
  type GraphNode,
  type GraphValue,
} from './ir.ts';

export type ValueName = string;

export interface NodeOptions {
  /** Node and result are called so; default: made from the operator and a counter, inside the current scope. */
  name?: string | undefined;
  domain?: string;
  attributes?: Record<string, Attribute>;
}

export class GraphBuilder {
  readonly #name: string;
  readonly #inputs: GraphValue[] = [];
  readonly #outputs: GraphValue[] = [];
  readonly #nodes: GraphNode[] = [];
  readonly #constants = new Map<string, Constant>();
  readonly #names = new Set<string>();
  readonly #weights = new Set<string>();
  #scope = '';

  constructor(name: string) {
    this.#name = name;
  }

  /** Names made inside `body` start with `scope`. */
  scoped<T>(scope: string, body: () => T): T {
    const outer = this.#scope;
    this.#scope = `${outer}${scope}.`;
    try {
      return body();
    } finally {
      this.#scope = outer;
    }
  }

  input(name: string, type: ElementType, dims: readonly Dimension[]): ValueName {
    this.#claim(name);
    this.#inputs.push({ name, type, dims });
    return name;
  }

  /** A weight of the model, given at run time; asking again for the same weight gives the same value. */
  weight(name: string, dims: readonly number[]): ValueName {
    if (!this.#weights.has(name)) {
      this.#claim(name);
      this.#weights.add(name);
      this.#inputs.push({ name, type: 'f32', dims, weight: true });
    }
    return name;
  }

  /** Makes `value` an output called `name`. */
  output(name: string, value: ValueName, type: ElementType, dims: readonly Dimension[]): void {
    this.node('Identity', [value], { name });
    this.#outputs.push({ name, type, dims });
  }

  constant(name: string, constant: Constant): ValueName {
    this.#claim(name);
    this.#constants.set(name, constant);
    return name;
  }

  /** A vector of 64-bit integers (a shape, axes); equal vectors are one constant. */
  ints(...values: number[]): ValueName {
    const name = `ints.${values.join('_')}`;
    const data = BigInt64Array.from(values, BigInt);
    return this.#shared(name, { type: 'i64', dims: [values.length], bytes: bytesOf(data) });
  }

  /** A scalar; equal scalars are one constant. */
  float(value: number): ValueName {
    return this.#shared(`float.${value}`, { type: 'f32', dims: [], bytes: bytesOf(Float32Array.of(value)) });
  }

  /** Adds a node with several results. */
  nodes(op: string, inputs: readonly ValueName[], options: NodeOptions & { outputs: number }): ValueName[] {
    const name = options.name ?? this.#fresh(op);
    const outputs = options.outputs === 1 ? [name] : Array.from({ length: options.outputs }, (_, i) => `${name}.${i}`);
    for (const output of outputs) this.#claim(output);
    const { domain = '', attributes = {} } = options;
    this.#nodes.push({ name, op, domain, inputs: [...inputs], outputs, attributes });
    return outputs;
  }

  /** Adds a node with one result. */
  node(op: string, inputs: readonly ValueName[], options: NodeOptions = {}): ValueName {
    return this.nodes(op, inputs, { ...options, outputs: 1 })[0]!;
  }

  add = (a: ValueName, b: ValueName) => this.node('Add', [a, b]);
  mul = (a: ValueName, b: ValueName) => this.node('Mul', [a, b]);
  matmul = (a: ValueName, b: ValueName, options?: NodeOptions) => this.node('MatMul', [a, b], options);
  softmax = (x: ValueName, options?: NodeOptions) => this.node('Softmax', [x], { ...options, attributes: { axis: { int: -1 } } });
  concat = (axis: number, ...parts: ValueName[]) => this.node('Concat', parts, { attributes: { axis: { int: axis } } });
  /** In `dims`, 0 keeps that dimension of `x` and -1 is what is left. */
  reshape = (x: ValueName, ...dims: number[]) => this.node('Reshape', [x, this.ints(...dims)]);
  unsqueeze = (x: ValueName, axis: number) => this.node('Unsqueeze', [x, this.ints(axis)]);
  squeeze = (x: ValueName, axis: number) => this.node('Squeeze', [x, this.ints(axis)]);
  transpose = (x: ValueName, ...perm: number[]) => this.node('Transpose', [x], { attributes: { perm: { ints: perm } } });
  /** x[from:to] along `axis`; bounds are numbers or values i64 [1]. */
  slice = (x: ValueName, axis: number, from: number | ValueName, to: number | ValueName) => {
    const bound = (at: number | ValueName) => (typeof at === 'number' ? this.ints(at) : at);
    return this.node('Slice', [x, bound(from), bound(to), this.ints(axis)]);
  };
  /** Halves along the last axis. */
  halves = (x: ValueName) =>
    this.nodes('Split', [x], { outputs: 2, attributes: { axis: { int: -1 }, num_outputs: { int: 2 } } }) as [
      ValueName,
      ValueName,
    ];

  build(): Graph {
    return {
      name: this.#name,
      inputs: this.#inputs,
      outputs: this.#outputs,
      nodes: this.#nodes,
      constants: this.#constants,
    };
  }

  /** A constant that is made once for its name. */
  shared(name: string, make: () => Constant): ValueName {
    return this.#constants.has(name) ? name : this.constant(name, make());
  }

  #shared(name: string, constant: Constant): ValueName {
    if (!this.#constants.has(name)) this.constant(name, constant);
    return name;
  }

  #fresh(op: string): string {
    return `${this.#scope}${op}.${this.#nodes.length}`;
  }

  #claim(name: string): void {
    if (this.#names.has(name)) throw new FewbitsError({ what: 'two values of one graph have the same name', where: name });
    this.#names.add(name);
  }
}
