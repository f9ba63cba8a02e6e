/**
 * Activations walk through the model layer by layer, all samples in front of one layer at a time. Sequences of a run and threads of
 * a session follow from the model and the machine alone, so that no option changes a bit of what is computed.
 */
import { FewbitsError, ModelError } from '../../errors.ts';
import {
  buildHead,
  buildLayer,
  checkIds,
  createSession,
  type Graph,
  type GraphSession,
  type GraphTensor,
  keepOutputs,
  layerPrefix,
  positionFeeds,
  rotateLayer,
  sequencesOfRun,
  showValue,
  tapInputs,
  type WeightReader,
} from '../../graph/index.ts';
import type { InputGroup, ModelSpec, Residual } from '../../model/index.ts';
import type { StatisticKind, Statistics } from '../../quantize/statistics.ts';
import type { OnlineRotation } from '../../quantize/transform/index.ts';
import { DriftSums } from './drift.ts';
import { type HiddenStates, hiddenStates, type Spill } from './states.ts';
import { InputSums, SumSessions } from './sums.ts';
import type { CapturedInput, CaptureOptions, LayerWalk, Look, LookOptions } from './types.ts';

export interface WalkProgress {
  /** The layer worked on; `layers` is the head. */
  layer: number;
  layers: number;
  /** Sequences that have passed it, and all. */
  done: number;
  total: number;
}

export interface WalkOptions {
  /** Sequences in `ids`, and tokens of each. */
  samples: number;
  context: number;
  /** Rotations that stay in the model: inputs are looked at behind them. */
  online?: readonly OnlineRotation[];
  /** Hidden states past `bufferBytes` (512 MB) go there. */
  spill?: Spill;
  bufferBytes?: number;
  signal?: AbortSignal;
  onProgress?: (event: WalkProgress) => void;
}

/**
 * Starts in front of layer 0.
 * @param weights the embedding is read from it, and the rope factors where the model has some
 * @param ids [samples, context]
 * @throws LimitError when the hidden states do not fit and no `spill` is given, ModelError for ids outside the vocabulary
 */
export async function openWalk(
  spec: ModelSpec,
  weights: WeightReader,
  ids: Int32Array,
  options: WalkOptions,
): Promise<LayerWalk> {
  const { samples, context } = options;
  checkIds(spec, ids, samples, context);
  const { scaling } = spec.rope;
  const factors = scaling.kind === 'tensor' ? await weights(scaling.name) : undefined;
  const states = await hiddenStates(samples * context * spec.hidden, options);
  try {
    const positions = positionFeeds(spec, 0, context, factors);
    const walk = new OnnxLayerWalk(spec, states, positions, options);
    await walk.embed(weights, ids);
    return walk;
  } catch (error) {
    await states.close();
    throw error;
  }
}

/** Graph and session of a layer, or of the head. */
interface Program {
  graph: Graph;
  session: GraphSession;
  /** Name of a linear in the graph -> output that shows its input. */
  taps: ReadonlyMap<string, string>;
}

class OnnxLayerWalk implements LayerWalk {
  readonly #spec: ModelSpec;
  readonly #states: HiddenStates;
  readonly #positions: Readonly<Record<string, GraphTensor>>;
  readonly #options: WalkOptions;
  readonly #step: number;
  readonly #programs = new Map<string, Promise<Program>>();
  readonly #sums = new SumSessions();
  #layer = 0;
  #closed = false;

  constructor(spec: ModelSpec, states: HiddenStates, positions: Record<string, GraphTensor>, options: WalkOptions) {
    this.#spec = spec;
    this.#states = states;
    this.#positions = positions;
    this.#options = options;
    this.#step = sequencesOfRun(spec, options.context);
  }

  get layer(): number {
    return this.#layer;
  }

  get tokens(): number {
    return this.#options.samples * this.#options.context;
  }

  async embed(weights: WeightReader, ids: Int32Array): Promise<void> {
    const name = 'model.embed_tokens.weight';
    const { context } = this.#options;
    const rows = weights.rows?.bind(weights) ?? gather(await weights(name), this.#spec.hidden);
    for (const [from, to] of this.#runs()) {
      const states = await rows(name, ids.subarray(from * context, to * context));
      await this.#states.write(states, from * context * this.#spec.hidden);
    }
  }

  async capture(
    weights: WeightReader,
    groups: readonly InputGroup[],
    kinds: readonly StatisticKind[],
    { original, watch }: CaptureOptions = {},
  ): Promise<CapturedInput[]> {
    if (!original) return this.#pass(weights, groups, kinds, { move: false, watch });
    const sums = this.#sumsOf(groups, kinds);
    const drifts = groups.map((group) => new DriftSums(this.#sums, group, this.#spec.hidden));
    const { walk, move = false } = original;
    const theirs = walk.look(original.weights, groups, { move, residuals: true });
    for await (const { inputs, residuals } of this.look(weights, groups, { move: false, residuals: true })) {
      const other = (await theirs.next()).value as Look;
      for (const [i, x] of inputs.entries()) {
        await sums[i]!.add(x);
        this.#show(x, i, watch);
        await drifts[i]!.add(other.inputs[i]!, x, other.residuals[i], residuals[i]);
      }
    }
    await theirs.next();
    return sums.map((one, i) => ({ ...one.finish(), drift: drifts[i]!.finish() }));
  }

  async advance(weights: WeightReader): Promise<void> {
    await this.#pass(weights, [], [], { move: true });
  }

  captureAndAdvance(
    weights: WeightReader,
    groups: readonly InputGroup[],
    kinds: readonly StatisticKind[],
    { watch }: Pick<CaptureOptions, 'watch'> = {},
  ): Promise<Statistics[]> {
    return this.#pass(weights, groups, kinds, { move: true, watch });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const programs = await Promise.allSettled(this.#programs.values());
    for (const program of programs) if (program.status === 'fulfilled') await program.value.session.close();
    await this.#sums.close();
    await this.#states.close();
  }

  /** All sequences through the current layer: `groups` are looked at, and with `move` the results take the place of the inputs. */
  async #pass(
    weights: WeightReader,
    groups: readonly InputGroup[],
    kinds: readonly StatisticKind[],
    { move, watch }: { move: boolean; watch?: CaptureOptions['watch'] | undefined },
  ): Promise<Statistics[]> {
    const sums = this.#sumsOf(groups, kinds);
    for await (const { inputs } of this.look(weights, groups, { move, residuals: false })) {
      for (const [i, input] of inputs.entries()) {
        await sums[i]!.add(input);
        this.#show(input, i, watch);
      }
    }
    return sums.map((one) => one.finish());
  }

  /** Sample by sample: how many pass together follows from memory, and what is found must not. */
  #show({ data, dims }: GraphTensor, group: number, watch: CaptureOptions['watch']): void {
    if (!watch) return;
    const values = data as Float32Array;
    const step = this.#options.context * dims[1]!;
    for (let at = 0; at < values.length; at += step) watch(group, values.subarray(at, at + step));
  }

  #sumsOf(groups: readonly InputGroup[], kinds: readonly StatisticKind[]): InputSums[] {
    return groups.map((group) => new InputSums(this.#sums, this.#layer, group, kinds, this.tokens));
  }

  async *look(weights: WeightReader, groups: readonly InputGroup[], { move, residuals }: LookOptions): AsyncGenerator<Look> {
    if (move && this.#layer === this.#spec.layers) throw new FewbitsError('a walk ends at the head');
    if (this.#closed) throw new FewbitsError('a walk was used after it was closed');
    const { samples, context, signal, onProgress } = this.#options;
    const { hidden, layers } = this.#spec;
    const layer = this.#layer;
    const nodes = groups.map(({ linears }) => linears.map((linear) => this.#node(linear)));
    const middle = residuals && groups.some(({ residual }) => residual === 'middle');
    const { graph, session, taps } = await this.#program(nodes.flat(), { move, middle });
    const tapped = groups.map((group, i) => tapOf(group, nodes[i]!, taps));
    const feeds = { ...this.#positionsOf(graph), ...(await this.#weights(graph, weights)) };
    for (const [from, to] of this.#runs()) {
      signal?.throwIfAborted();
      const data = await this.#states.read(from * context * hidden, (to - from) * context * hidden);
      const outputs = await session.run({ ...feeds, hidden: { type: 'f32', dims: [to - from, context, hidden], data } });
      const streams: Record<Residual, GraphTensor | undefined> = {
        hidden: { type: 'f32', dims: [(to - from) * context, hidden], data },
        middle: outputs['input.middle'],
      };
      yield {
        from,
        to,
        inputs: tapped.map((tap) => outputs[tap]!),
        residuals: groups.map(({ residual }) => (residuals && residual ? streams[residual] : undefined)),
      };
      if (move) await this.#states.write(outputs['output']!.data as Float32Array, from * context * hidden);
      onProgress?.({ layer, layers, done: to, total: samples });
    }
    if (move) this.#layer++;
  }

  /** Which sequences [from, to) pass together. */
  #runs(): [from: number, to: number][] {
    const { samples } = this.#options;
    const count = Math.ceil(samples / this.#step);
    return Array.from({ length: count }, (_, i) => [i * this.#step, Math.min((i + 1) * this.#step, samples)]);
  }

  /** What the graph of the current layer calls a linear. */
  #node(linear: string): string {
    if (this.#layer === this.#spec.layers) return 'lm_head';
    const prefix = layerPrefix(this.#layer);
    if (linear.startsWith(prefix)) return linear.slice(prefix.length);
    throw new ModelError({ what: 'the linear does not belong to the layer', where: linear, limit: prefix });
  }

  /** Layers with the same window have the same graph. */
  #program(nodes: readonly string[], { move, middle }: { move: boolean; middle: boolean }): Promise<Program> {
    const atHead = this.#layer === this.#spec.layers;
    const { online } = this.#options;
    // Rotations are constants of a layer's own graph.
    const same = online ? this.#layer : this.#spec.window[this.#layer];
    const key = [atHead ? 'head' : same, move, middle, ...nodes].join();
    const open = async (): Promise<Program> => {
      const plain = atHead ? buildHead(this.#spec) : buildLayer(this.#spec, this.#layer);
      const whole = atHead || !online ? plain : rotateLayer(plain, this.#layer, online);
      const tapped = tapInputs(middle ? showValue(whole, 'middle') : whole, nodes);
      const kept = [...tapped.taps.values(), ...(move ? ['output'] : []), ...(middle ? ['input.middle'] : [])];
      const graph = keepOutputs(tapped.graph, kept);
      return { graph, session: await createSession(graph, { considerate: true }), taps: tapped.taps };
    };
    const program = this.#programs.get(key) ?? open();
    this.#programs.set(key, program);
    return program;
  }

  #positionsOf({ inputs }: Graph): Record<string, GraphTensor> {
    return Object.fromEntries(inputs.flatMap(({ name }) => (this.#positions[name] ? [[name, this.#positions[name]]] : [])));
  }

  async #weights({ inputs }: Graph, weights: WeightReader): Promise<Record<string, GraphTensor>> {
    const prefix = this.#layer === this.#spec.layers ? '' : layerPrefix(this.#layer);
    const feeds: Record<string, GraphTensor> = {};
    for (const { name, dims, weight } of inputs)
      if (weight) feeds[name] = { type: 'f32', dims: dims.map(Number), data: await weights(prefix + name) };
    return feeds;
  }
}

/** The output that shows the input of a group; its linears read one value. */
function tapOf({ linears }: InputGroup, nodes: readonly string[], taps: ReadonlyMap<string, string>): string {
  const shown = new Set(nodes.map((node) => taps.get(node)!));
  if (shown.size !== 1) throw new ModelError({ what: 'linears of one group read different inputs', where: linears.join(', ') });
  return [...shown][0]!;
}

/** For readers that know whole matrices only. @param table [vocab, hidden] */
function gather(table: Float32Array, hidden: number) {
  return async (_: string, ids: Int32Array): Promise<Float32Array> => {
    const out = new Float32Array(ids.length * hidden);
    ids.forEach((id, i) => {
      out.set(table.subarray(id * hidden, (id + 1) * hidden), i * hidden);
    });
    return out;
  };
}
