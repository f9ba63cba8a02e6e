/** The bound on the memory of a run, known before it begins. */
import type { Layout, Model } from '../format/types.ts';
import { keptRunBytes, layerRunBytes } from '../graph/layer-runs.ts';
import { type Fold, inputGroups, type ModelSpec, modelFolds, modelTensors } from '../model/index.ts';
import { schemeSurveys } from '../quantize/kinds/encode.ts';
import { isWeightScheme } from '../quantize/scheme.ts';
import { elements } from '../tensor/tensor.ts';
import type { Gathered } from './looks.ts';
import { type Group, hessianBytes, type PlanNode } from './nodes.ts';
import type { Transform } from './schema.ts';
import { isSolved, sourceRowBytes, tilesOf } from './tiles.ts';

/**
 * Measured: Node itself with the library; a worker's own isolate and kernels; and what an isolate lets pile up outside of its heap
 * before it collects (V8 allows 64 MB). A worker does that with grids, which are encoded in JavaScript arrays, and the main isolate
 * with Hessians that are solved and with what the runtime gives back of each run of a layer.
 */
const BASE_MEMORY = 160e6;
const WORKER_MEMORY = 30e6;
const GARBAGE = 80e6;

export interface MemoryRequest {
  model: Model;
  /** What comes before everything else. */
  transforms?: readonly Transform[];
  layout: Layout;
  nodes: readonly PlanNode[];
  threads: number;
  calibration?: { order: string; correct: boolean; context: number; samples: number };
  /** One walk tells transforms and schemes what they look at: none follows the rewrite. */
  gathered?: Gathered;
}

export function peakMemory({ model, layout, nodes, threads, calibration, transforms = [], gathered }: MemoryRequest): number {
  let tile = 0;
  for (const tensor of layout.tensors) {
    const [first] = tilesOf(tensor);
    if (!first) continue;

    const solved = isSolved(tensor) ? (first[1] - first[0]) * tensor.from.cols * SOLVED_VALUE_BYTES : 0;
    const share = (first[1] - first[0]) / tensor.from.rows;
    const { scheme } = tensor;
    const arrays = isWeightScheme(scheme) ? 3 * 4 * elements(tensor.shape) * share : 0;
    const balanced = isWeightScheme(scheme) && scheme.balance && scheme.rounding ? BALANCED_BYTES * tensor.from.cols ** 2 : 0;
    const survey =
      isWeightScheme(scheme) && schemeSurveys(scheme) === 'matrix' ? SURVEYED_VALUE_BYTES * elements(tensor.shape) : 0;
    tile = Math.max(
      tile,
      solved + balanced,
      survey + balanced,
      (first[1] - first[0]) * sourceRowBytes(tensor) + 2 * share * tensor.bytes + arrays + balanced,
    );
  }
  const known = layout.files.reduce((sum, file) => sum + file.known.reduce((s, k) => s + k.bytes.length, 0), 0);
  const garbage = layout.tensors.some((tensor) => isWeightScheme(tensor.scheme)) ? GARBAGE : 0;
  const calibrated =
    calibrationMemory(model, nodes, gathered ? undefined : calibration) + (transforms.length ? changedBytes(nodes) : 0);
  const run = 2 * known + threads * (WORKER_MEMORY + garbage + tile) + calibrated;
  return Math.ceil(
    BASE_MEMORY +
      Math.max(
        run,
        rangesMemory(model, layout, nodes, calibration),
        ...transforms.map((one) => transformMemory(model, one, calibration, gathered)),
      ),
  );
}

/**
 * Measured: bytes a value of a matrix that is looked at as a whole. A book of the tensor: 20 (values, scaled, scales, gathered, weights);
 * balanced columns: 24 (values, rest, and two copies in f64).
 */
export const SURVEYED_VALUE_BYTES = 24;
/** Measured: bytes a value of a tile that is rounded with feedback: weights, targets, panels, gradients, systems of levels. */
const SOLVED_VALUE_BYTES = 56;
/**
 * A worker that balances columns and rounds with feedback has Hessian, damped copy and factor in the balanced space for itself: six
 * matrices of f32 while it factorizes.
 */
const BALANCED_BYTES = 6 * 4;
/** Hidden states past this go to a file. */
export const STATE_BYTES = 512e6;
/** ONNX Runtime: its library and sessions. */
const RUNTIME_MEMORY = 40e6;

/** What activations take: states of all samples, one layer's weights and run, and the matrices of the inputs captured together. */
function calibrationMemory({ spec }: Model, nodes: readonly PlanNode[], calibration: MemoryRequest['calibration']): number {
  const twice = walks(calibration);
  const solve = Math.max(0, ...nodes.map((node) => (node.kind === 'solve' ? solveBytes(node.group) : 0)));
  if (!calibration || !spec)
    return (
      (solve && GARBAGE) + solve + Math.max(0, ...nodes.map((node) => (node.kind === 'solve' ? hessianBytes(node.group) : 0)))
    );
  const { context } = calibration;
  const captured = nodes.map((node) => {
    if (node.kind !== 'capture') return 0;
    const drift = ({ width, residual }: Group) => 4 * width * (width + (residual ? spec.hidden : 0));
    return node.groups.reduce((sum, group) => sum + hessianBytes(group) + (twice === 2 ? drift(group) : 0), 0);
  });
  const weights = Math.max(0, ...Array.from({ length: spec.layers }, (_, layer) => layerWeightBytes(spec, layer)));
  const states = Math.min(STATE_BYTES, stateBytes(spec, calibration));
  // Each walk has its own sessions, whose freed blocks do not serve the other's.
  const runs = twice * (layerRunBytes(spec, context) + keptRunBytes(spec, context));
  return RUNTIME_MEMORY + GARBAGE + Math.max(0, ...captured) + solve + twice * (states + weights) + runs;
}

/** Text that each trial of ranges by loss runs over, and bytes of the logits of the unquantized model on it. */
const TRIAL_TOKENS = 2048;
const TRIAL_LOGITS = 256e6;

/** Windows that ranges by loss are tried on: the first ones of the calibration text. */
export function searchedSamples({ vocab }: ModelSpec, { samples, context }: { samples: number; context: number }): number {
  const most = Math.min(Math.floor(TRIAL_TOKENS / context), Math.floor(TRIAL_LOGITS / (4 * context * vocab)));
  return Math.min(samples, Math.max(1, most));
}

/** Ranges by loss: all weights, those that are searched a second time, states, logits and one window's run. */
function rangesMemory(
  { spec }: Model,
  { tensors }: Layout,
  nodes: readonly PlanNode[],
  calibration: MemoryRequest['calibration'],
): number {
  const searched = nodes.flatMap((node) => (node.kind === 'ranges' ? node.tensors : []));
  if (!spec || !calibration || searched.length === 0) return 0;
  const { context } = calibration;
  const samples = searchedSamples(spec, calibration);
  const all = modelTensors(spec).reduce((sum, { shape }) => sum + 4 * elements(shape), 0);
  const sizes = searched.map((index) => 4 * elements(tensors[index]!.shape));
  const copies = sizes.reduce((sum, size) => sum + size, 0) + SEARCH_COPIES * Math.max(...sizes);
  const states = 3 * stateBytes(spec, { samples, context });
  const runs = layerRunBytes(spec, context) + keptRunBytes(spec, context);
  return RUNTIME_MEMORY + GARBAGE + all + copies + states + 4 * (samples + 1) * context * spec.vocab + runs;
}

/** Copies of what a search tries: the weights of an input, the candidate, its error, what the quantizer makes on the way. */
const SEARCH_COPIES = 6;

/** A Hessian from a file becomes that of the rewritten model: the copy that changes, and one in f64 that turns. */
function changedBytes(nodes: readonly PlanNode[]): number {
  return 3 * Math.max(0, ...nodes.map((node) => (node.kind === 'solve' ? hessianBytes(node.group) : 0)));
}

/** Statistics that one walk leaves on the disk. */
export function gatheredBytes({ spec }: Model, gathered: Gathered | undefined): number {
  if (!spec || !gathered) return 0;
  const layers = Array.from({ length: spec.layers + (gathered.head ? 1 : 0) }, (_, layer) => inputGroups(spec, layer)).flat();
  return layers.reduce(
    (sum, { width }) => sum + hessianBytes({ width, kinds: gathered.kinds }) + 4 * width * gathered.kinds.length,
    0,
  );
}

/** Weights of one input, as they are, stacked, and twice in f64 while they are balanced. */
const BALANCED_VALUE_BYTES = 4 + 4 + 8 + 8;

function foldValues(spec: ModelSpec, { to }: Fold): number {
  return modelTensors(spec).reduce((sum, { name, shape }) => sum + (to.includes(name) ? elements(shape) : 0), 0);
}

/** What a transform takes before its file is written: activations, the Hessians of a layer, the largest matrix in f32 and f64. */
function transformMemory(
  { spec }: Model,
  { kind }: Transform,
  calibration: MemoryRequest['calibration'],
  gathered: Gathered | undefined,
): number {
  if (!spec) return 0;
  const tensors = modelTensors(spec);
  const largest = Math.max(...tensors.map(({ shape }) => elements(shape)));
  if (kind === 'sinq')
    return GARBAGE + BALANCED_VALUE_BYTES * Math.max(...modelFolds(spec).map((fold) => foldValues(spec, fold)));
  if (kind === 'quarot') return GARBAGE + (4 + 8) * largest;
  const layers = Array.from({ length: spec.layers }, (_, layer) => layer);
  const weights = Math.max(...layers.map((layer) => layerWeightBytes(spec, layer)));
  const widths = kind === 'awq' || gathered?.kinds.includes('hessian') ? inputGroups(spec, 0).map(({ width }) => width) : [];
  const hessians = widths.reduce((sum, width) => sum + 4 * width * width, 0) + 6 * Math.max(0, ...widths) ** 2;
  const searched = hessians + (kind === 'awq' ? SEARCH_COPIES * weights : 0);
  if (!calibration) return GARBAGE + Math.max((4 + 8) * largest, searched);
  const states = Math.min(STATE_BYTES, stateBytes(spec, calibration));
  const walked = RUNTIME_MEMORY + GARBAGE + states + weights;
  const runs = layerRunBytes(spec, calibration.context) + keptRunBytes(spec, calibration.context);
  return walked + runs + searched;
}

/** Bytes of the files that hold the hidden states that memory does not. */
export function spillBytes({ spec }: Model, calibration: MemoryRequest['calibration']): number {
  const states = spec && calibration ? stateBytes(spec, calibration) : 0;
  return states > STATE_BYTES ? walks(calibration) * states : 0;
}

/** Activations of the unquantized model walk beside those of the quantized layers where the two are compared. */
function walks(calibration: MemoryRequest['calibration']): 1 | 2 {
  return calibration?.correct && calibration.order !== 'parallel' ? 2 : 1;
}

function stateBytes(spec: ModelSpec, { samples, context }: { samples: number; context: number }): number {
  return 4 * samples * context * spec.hidden;
}

/** The damped copy of a Hessian, and half a matrix for its factor. */
function solveBytes({ width }: Group): number {
  return 6 * width * width;
}

function layerWeightBytes(spec: ModelSpec, layer: number): number {
  return modelTensors(spec).reduce((sum, tensor) => sum + (tensor.layer === layer ? 4 * elements(tensor.shape) : 0), 0);
}
