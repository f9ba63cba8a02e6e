/**
 * A model as its layers, whose weights can be exchanged between two runs: what depends on one layer runs again from there, on the
 * hidden states that were in front of it. All weights are in memory.
 */
import {
  buildHead,
  buildLayer,
  createSession,
  type Graph,
  type GraphSession,
  type GraphTensor,
  layerPrefix,
  positionFeeds,
  rotateLayer,
  type WeightReader,
} from '../../graph/index.ts';
import { type ModelSpec, modelTensors } from '../../model/index.ts';
import type { OnlineRotation } from '../../quantize/transform/index.ts';

/** Token ids [samples, context]. */
export interface StackTokens {
  ids: Int32Array;
  samples: number;
  context: number;
}

interface Program {
  graph: Graph;
  session: GraphSession;
}

const EMBEDDING = 'model.embed_tokens.weight';

export class LayerStack {
  /** By canonical name; what lies in it is what the next run computes with. */
  readonly weights: Map<string, Float32Array>;
  readonly #spec: ModelSpec;
  readonly #tokens: StackTokens;
  readonly #online: readonly OnlineRotation[];
  readonly #positions: Readonly<Record<string, GraphTensor>>;
  readonly #programs = new Map<string, Promise<Program>>();

  private constructor(
    spec: ModelSpec,
    tokens: StackTokens,
    online: readonly OnlineRotation[],
    weights: Map<string, Float32Array>,
  ) {
    this.#spec = spec;
    this.#tokens = tokens;
    this.#online = online;
    this.weights = weights;
    const { scaling } = spec.rope;
    this.#positions = positionFeeds(spec, 0, tokens.context, scaling.kind === 'tensor' ? weights.get(scaling.name) : undefined);
  }

  static async open(
    spec: ModelSpec,
    read: WeightReader,
    tokens: StackTokens,
    online: readonly OnlineRotation[] = [],
  ): Promise<LayerStack> {
    const weights = new Map<string, Float32Array>();
    for (const { name } of modelTensors(spec)) if (name !== scalingOf(spec)) weights.set(name, await read(name));
    const factors = scalingOf(spec);
    if (factors !== undefined) weights.set(factors, await read(factors));
    return new LayerStack(spec, tokens, online, weights);
  }

  /** What is in front of layer 0, [samples, context, hidden]. */
  embed(): Float32Array {
    const { hidden } = this.#spec;
    const table = this.weights.get(EMBEDDING)!;
    const states = new Float32Array(this.#tokens.ids.length * hidden);
    for (const [i, id] of this.#tokens.ids.entries()) states.set(table.subarray(id * hidden, (id + 1) * hidden), i * hidden);
    return states;
  }

  /** States behind a layer from those in front of it. */
  async through(layer: number, states: Float32Array): Promise<Float32Array> {
    const { context } = this.#tokens;
    const { hidden } = this.#spec;
    const out = new Float32Array(states.length);
    for (let at = 0; at < states.length; at += context * hidden)
      out.set(await this.#run(layer, states.subarray(at, at + context * hidden)), at);
    return out;
  }

  /** Logits [context, vocab] of one sample from the states in front of a layer (`spec.layers`: of the head), [samples, context, hidden]. */
  async logits(layer: number, states: Float32Array, sample: number): Promise<Float32Array> {
    const size = this.#tokens.context * this.#spec.hidden;
    let one = states.subarray(sample * size, (sample + 1) * size);
    for (let at = layer; at <= this.#spec.layers; at++) one = await this.#run(at, one);
    return one;
  }

  async close(): Promise<void> {
    const programs = await Promise.allSettled(this.#programs.values());
    this.#programs.clear();
    for (const program of programs) if (program.status === 'fulfilled') await program.value.session.close();
  }

  /** One sample through a layer, or through the head. */
  async #run(layer: number, hidden: Float32Array): Promise<Float32Array> {
    const head = layer === this.#spec.layers;
    const { graph, session } = await this.#program(layer);
    const prefix = head ? '' : layerPrefix(layer);
    const feeds: Record<string, GraphTensor> = {
      hidden: { type: 'f32', dims: [1, this.#tokens.context, this.#spec.hidden], data: hidden },
    };
    for (const { name, dims, weight } of graph.inputs) {
      if (weight) feeds[name] = { type: 'f32', dims: dims.map(Number), data: this.weights.get(prefix + name)! };
      else if (this.#positions[name]) feeds[name] = this.#positions[name];
    }
    return (await session.run(feeds))[head ? 'logits' : 'output']!.data as Float32Array;
  }

  /** Layers with the same window have the same graph; rotations are constants of a layer's own. */
  #program(layer: number): Promise<Program> {
    const head = layer === this.#spec.layers;
    const rotated = this.#online.length > 0;
    const key = head ? 'head' : rotated ? `${layer}` : `window ${this.#spec.window[layer]}`;
    const open = async (): Promise<Program> => {
      const plain = head ? buildHead(this.#spec) : buildLayer(this.#spec, layer);
      const graph = head || !rotated ? plain : rotateLayer(plain, layer, this.#online);
      return { graph, session: await createSession(graph, { considerate: true }) };
    };
    const program = this.#programs.get(key) ?? open();
    this.#programs.set(key, program);
    return program;
  }
}

function scalingOf({ rope: { scaling } }: ModelSpec): string | undefined {
  return scaling.kind === 'tensor' ? scaling.name : undefined;
}
