/**
 * ModelSpec -> graph: the whole model or one layer. Weights are inputs under their names in the checkpoint, in the layout of the
 * checkpoint ([out, in]): a caller binds them as constants or feeds them at run time, which is as fast in batches and lets all
 * sessions share one copy.
 */
import { ModelError } from '../errors.ts';
import { modelTensors } from '../model/index.ts';
import type { ModelSpec } from '../model/types.ts';
import { GraphBuilder, type ValueName } from './builder.ts';
import { type DecoderContext, decoderLayer, type KeysValues, rmsNorm } from './decoder.ts';
import type { Graph } from './ir.ts';

/** What the whole-model graph gives; hidden states are called 'hidden.embed', 'hidden.0'.., 'hidden.final'. */
export type ModelOutput = 'logits' | 'loss' | 'hidden';

export interface ModelOptions {
  readonly outputs: readonly ModelOutput[];
  /** Adds inputs `past.N.key`, `past.N.value` [P, B, K, D] and outputs `new.N.key`, `new.N.value` [T, B, K, D]. */
  readonly cache?: boolean;
}

/**
 * Inputs: `ids` i64 [B, T], the inputs of `positionFeeds`, the weights, the cache.
 * Outputs: `logits` [B, T, vocab]; `loss` [B, T - 1], nats of ids[b][t + 1] given ids[b][..t].
 */
export function buildModel(spec: ModelSpec, { outputs, cache = false }: ModelOptions): Graph {
  const b = new GraphBuilder('model');
  const ids = b.input('ids', 'i64', ['B', 'T']);
  const context = decoderContext(b, spec, '');
  const hiddenDims = ['B', 'T', spec.hidden] as const;
  const show = (name: string, value: ValueName) => {
    if (outputs.includes('hidden')) b.output(`hidden.${name}`, value, 'f32', hiddenDims);
  };

  let x = b.node('Gather', [context.weight('model.embed_tokens.weight'), ids]);
  show('embed', x);
  for (let layer = 0; layer < spec.layers; layer++) {
    const past = cache ? pastInputs(b, spec, layer) : undefined;
    const { hidden, key, value } = decoderLayer(b, context, layer, `model.layers.${layer}.`, x, past);
    x = hidden;
    show(`${layer}`, x);
    if (cache) {
      b.output(`new.${layer}.key`, key, 'f32', cacheDims('T', spec));
      b.output(`new.${layer}.value`, value, 'f32', cacheDims('T', spec));
    }
  }
  x = rmsNorm(b, context, 'model.norm', x);
  show('final', x);

  const head = b.transpose(context.weight(headWeight(spec)), 1, 0);
  if (outputs.includes('logits')) b.output('logits', b.matmul(x, head, { name: 'lm_head' }), 'f32', ['B', 'T', spec.vocab]);
  if (outputs.includes('loss')) b.output('loss', nextTokenLoss(b, ids, x, head, lossPieces(spec.vocab)), 'f32', ['B', 'T - 1']);
  return b.build();
}

/**
 * One decoder layer: `hidden` [B, T, hidden] -> `output`. Weights are named without 'model.layers.N.', so that layers with the
 * same window share one session.
 */
export function buildLayer(spec: ModelSpec, layer: number): Graph {
  if (!(layer in spec.window)) throw new ModelError({ what: 'no such layer', value: layer, limit: spec.layers - 1 });
  const b = new GraphBuilder('layer');
  const dims = ['B', 'T', spec.hidden] as const;
  const x = b.input('hidden', 'f32', dims);
  const context = decoderContext(b, spec, layerPrefix(layer));
  b.output('output', decoderLayer(b, context, layer, '', x).hidden, 'f32', dims);
  return b.build();
}

/** What follows the last layer: `hidden` [B, T, hidden] -> `logits` [B, T, vocab]; the MatMul is called 'lm_head'. */
export function buildHead(spec: ModelSpec): Graph {
  const b = new GraphBuilder('head');
  const weight = weightInputs(b, spec, '');
  const x = b.input('hidden', 'f32', ['B', 'T', spec.hidden]);
  const head = b.transpose(weight(headWeight(spec)), 1, 0);
  const logits = b.matmul(rmsNorm(b, { spec, weight }, 'model.norm', x), head, { name: 'lm_head' });
  b.output('logits', logits, 'f32', ['B', 'T', spec.vocab]);
  return b.build();
}

/** The weight of the MatMul called 'lm_head'. */
export function headWeight({ tied }: ModelSpec): string {
  return tied ? 'model.embed_tokens.weight' : 'lm_head.weight';
}

/** What `buildLayer` leaves out of the names of a layer's weights. */
export function layerPrefix(layer: number): string {
  return `model.layers.${layer}.`;
}

/** @param prefix what the names of weights in the graph leave out. */
function decoderContext(b: GraphBuilder, spec: ModelSpec, prefix: string): DecoderContext {
  const table = (name: string) => b.unsqueeze(b.input(name, 'f32', ['T', spec.rope.dims]), 1);
  const masks = new Map<number | undefined, ValueName>();
  return {
    spec,
    cos: table('cos'),
    sin: table('sin'),
    mask: (window) => {
      const known = masks.get(window) ?? b.input(maskName(window), 'f32', ['T', 'S']);
      masks.set(window, known);
      return known;
    },
    weight: weightInputs(b, spec, prefix),
  };
}

/** Makes weights inputs, with the shapes that the architecture gives them. */
function weightInputs(b: GraphBuilder, spec: ModelSpec, prefix: string): (name: string) => ValueName {
  const shapes = new Map(modelTensors(spec).map(({ name, shape }) => [name, shape]));
  return (name) => {
    const shape = shapes.get(prefix + name);
    if (!shape) throw new ModelError({ what: 'the graph asks for a tensor that the architecture does not have', where: name });
    return b.weight(name, shape);
  };
}

/** The input that holds the mask of layers with this sliding window. */
export function maskName(window: number | undefined): string {
  return window === undefined ? 'mask' : `mask.${window}`;
}

function cacheDims(positions: string, spec: ModelSpec) {
  return [positions, 'B', spec.kvHeads, spec.headDim] as const;
}

function pastInputs(b: GraphBuilder, spec: ModelSpec, layer: number): KeysValues {
  const past = (what: string) => b.input(`past.${layer}.${what}`, 'f32', cacheDims('P', spec));
  return { key: past('key'), value: past('value') };
}

/** Into how many pieces the loss cuts a sequence: with a large vocabulary the logits are the largest tensor by far. */
export function lossPieces(vocab: number): number {
  return Math.ceil(vocab / 32768);
}

/** Cross entropy of the next token, inside the graph: [B, T - 1, vocab] never reaches JavaScript. */
function nextTokenLoss(b: GraphBuilder, ids: ValueName, x: ValueName, head: ValueName, pieces: number): ValueName {
  const states = b.slice(x, 1, 0, -1); // [B, T - 1, hidden]
  const targets = b.slice(ids, 1, 1, Number.MAX_SAFE_INTEGER); // [B, T - 1]
  if (pieces === 1) return crossEntropy(b, states, targets, head);

  // Pieces of a short sequence may be empty, which every operator here allows.
  const positions = b.node('Shape', [targets], { attributes: { start: { int: 1 } } });
  const bound = (i: number) => b.node('Div', [b.mul(positions, b.ints(i)), b.ints(pieces)]);
  const parts = Array.from({ length: pieces }, (_, i) => {
    const [from, to] = [bound(i), bound(i + 1)];
    return crossEntropy(b, b.slice(states, 1, from, to), b.slice(targets, 1, from, to), head);
  });
  return b.concat(1, ...parts);
}

/** States [B, n, hidden], targets [B, n] -> nats [B, n]. */
function crossEntropy(b: GraphBuilder, states: ValueName, targets: ValueName, head: ValueName): ValueName {
  const logProbabilities = b.node('LogSoftmax', [b.matmul(states, head)], { attributes: { axis: { int: -1 } } });
  const indices = b.unsqueeze(targets, -1);
  const chosen = b.node('GatherElements', [logProbabilities, indices], { attributes: { axis: { int: -1 } } });
  return b.node('Neg', [b.squeeze(chosen, -1)]);
}
