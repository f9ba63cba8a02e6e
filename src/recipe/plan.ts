/**
 * The plan: what a run will write, from headers alone. Every byte range of the output is known here; the run only fills them.
 */

import type { JsonObject } from '../checkpoint/types.ts';
import { RecipeError } from '../errors.ts';
import { fingerprint, sha256 } from '../format/fingerprint.ts';
import { containers } from '../format/registry.ts';
import type { Container, ContainerName, Layout, Model, WeightTensor } from '../format/types.ts';
import { linearOf } from '../model/index.ts';
import { isWeightScheme, schemeLabel } from '../quantize/scheme.ts';
import type { StatisticKind, StatisticsReader } from '../quantize/statistics.ts';
import { storage, storageKind } from '../tensor/storage.ts';
import { VERSION } from '../version.ts';
import { peakMemory, spillBytes } from './memory.ts';
import { hasInput, needsOf, transformNeeds } from './needs.ts';
import { type PlanNode, planNodes } from './nodes.ts';
import { checkDecoder, parameters, type Resolved, resolveSchemes } from './resolve.ts';
import { keptTypes, type RewrittenModel, rewrittenModel } from './rewritten.ts';
import { type Calibration, defaultCalibration, parseRecipe, type Recipe, type RecipeInput } from './schema.ts';
import { cutLongRows } from './tiles.ts';

export interface PlanOptions {
  /** Name of the output, without its folder. Its extension decides between a file and a folder. */
  output?: string;
  /** Importance matrix: canonical tensor name -> [cols] (llama.cpp's imatrix, mean square of the inputs). */
  importance?: ReadonlyMap<string, Float32Array>;
  /** Of the inputs of linears, for what looks at activations: nothing is captured then. */
  statistics?: StatisticsReader;
  maxShardSize?: number;
  /** Workers; the peak of memory depends on it, the bytes do not. */
  threads?: number;
  /** Context for the key/value cache figure; default the model's. */
  context?: number;
  /** Tokens in a window of calibration text where the recipe does not say; default 2048 or the model's limit. */
  calibrationContext?: number;
  /** The source may be quantized already: no warning. */
  requantize?: boolean;
}

/** Windows where nobody says how many; a shorter text gives as many as it has. */
const DEFAULT_SAMPLES = 128;

/** How activations are collected. */
export interface PlannedCalibration extends Calibration {
  samples: number;
  context: number;
  /** Tokens in all; fewer when the text is shorter. */
  tokens: number;
  /** Layers that activations pass through. */
  layers: number;
}

export interface PlannedTensor {
  /** Name in the output. */
  name: string;
  /** Canonical name. */
  source: string;
  scheme: string;
  bytes: number;
  shape: readonly number[];
}

export interface Plan {
  readonly model: Model;
  readonly recipe: Recipe;
  readonly container: ContainerName;
  readonly output: { name: string; kind: 'file' | 'folder' };
  readonly layout: Layout;
  readonly importance: ReadonlyMap<string, Float32Array>;
  readonly statistics?: StatisticsReader;
  /** What the transforms leave: everything after them looks at that model. */
  readonly rewritten?: RewrittenModel;
  /** Present when the run needs a text. */
  readonly calibration?: PlannedCalibration;
  /** What is done, in an order that respects what waits for what. */
  readonly nodes: readonly PlanNode[];
  readonly tensors: readonly PlannedTensor[];
  /** Size of the output's files, exact. */
  readonly bytes: number;
  readonly parameters: number;
  /** 8 x bytes of tensor data / parameters: scales and zeros counted, headers and padding not. */
  readonly bitsPerWeight: number;
  /** Bound on the memory of the run, in bytes. */
  readonly peakMemory: number;
  /** Disk that the run takes besides its output, in bytes: hidden states that memory does not hold. */
  readonly spillBytes: number;
  /** Memory of a runtime that holds the file, and its key/value cache at f16. */
  readonly load: { weights: number; kvCache?: { context: number; bytes: number } };
  readonly runtimes: readonly string[];
  readonly convention: string;
  readonly warnings: readonly string[];
  /** Names the run: recipe, source and layout. */
  readonly key: string;
}

/** @throws RecipeError, ModelError: everything that can be known before the first byte is written. */
export async function plan(model: Model, recipe: RecipeInput, options: PlanOptions = {}): Promise<Plan> {
  const parsed = parseRecipe(recipe);
  const name = parsed.container ?? 'fewbits';
  const container = containers[name];
  const importance = options.importance ?? new Map<string, Float32Array>();
  const rewritten = parsed.transforms && rewrittenModel(model, parsed.transforms);
  const subject = rewritten?.model ?? model;
  const resolved = resolveSchemes(subject, parsed, container, importance.size > 0 || parsed.rounding !== undefined);
  const { warnings } = resolved;
  const keep = rewritten && keptTypes(model, rewritten);
  const schemes = keep
    ? resolved.schemes.map(({ tensor, scheme }) => ({ tensor, scheme: keep(tensor, scheme) }))
    : resolved.schemes;
  // A model is a folder where the container can be one: only there its configuration and tokenizer have a place.
  const extension = container.output === 'file' || !model.spec ? (container.extensions[0] ?? '') : '';
  if (parsed.rounding && !schemes.some(({ scheme }) => scheme.kind !== 'keep' && scheme.rounding)) {
    warnings.push('nothing is rounded by GPTQ here: no quantized matrix takes it');
  }
  const looksAtInputs = ({ scheme }: Resolved['schemes'][number]) =>
    needsOf(scheme).length > 0 || (scheme.kind === 'storage' && storageKind(scheme.type) === 'block');
  if (importance.size > 0 && !schemes.some(looksAtInputs)) {
    warnings.push('the importance matrix changes nothing here: only the ggml block types use one');
  }
  const output = outputOf(options.output ?? `model${extension}`, container.output, container.extensions);
  const source = await fingerprint(model.checkpoint);
  const quantized = schemes.some(
    ({ scheme }) => isWeightScheme(scheme) || (scheme.kind === 'storage' && storageKind(scheme.type) === 'block'),
  );
  const calibration = plannedCalibration(subject, parsed, schemes, options);
  // What a run does not use says nothing about its output.
  const { calibration: _, ...used } = parsed;
  const json = JSON.parse(JSON.stringify({ ...used, ...(calibration && { calibration: statedOf(calibration) }) })) as JsonObject;
  const placed = await container.layout({
    model: subject,
    schemes,
    output: output.name,
    outputKind: output.kind,
    recipe: json,
    ...(parsed.fileType !== undefined && { fileType: parsed.fileType }),
    ...(options.maxShardSize !== undefined && { maxShardSize: options.maxShardSize }),
    // A plain conversion equals what the original converters write, byte for byte: it carries no mark of ours.
    ...(quantized && { provenance: { version: VERSION, source, recipe: json } }),
  });
  const layout: Layout = { ...placed, tensors: placed.tensors.map(cutLongRows) };
  layout.tensors.forEach(checkDecoder);
  const { statistics } = options;
  const nodes = planNodes({
    model: subject,
    tensors: layout.tensors,
    order: calibration?.order ?? 'parallel',
    ...(statistics && { statistics }),
  });
  const count = parameters(model);
  const data = layout.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const bytes = layout.files.reduce((sum, file) => sum + file.size, 0);
  return {
    model,
    recipe: parsed,
    container: name,
    output,
    layout,
    importance,
    ...(statistics && { statistics }),
    ...(calibration && { calibration }),
    ...(rewritten && { rewritten }),
    nodes,
    tensors: layout.tensors.map((t) => ({ name: t.name, source: t.source, scheme: t.label, bytes: t.bytes, shape: t.shape })),
    bytes,
    parameters: count,
    bitsPerWeight: count ? (8 * data) / count : 0,
    peakMemory: peakMemory({ model: subject, layout, nodes, threads: options.threads ?? 1, ...(calibration && { calibration }) }),
    spillBytes: spillBytes(model, calibration),
    load: { weights: data, ...kvCache(model, options.context) },
    runtimes: container.runtimes(layout, subject),
    convention: conventionOf(container, schemes),
    warnings: [...model.warnings, ...warnings, ...(options.requantize ? [] : roundedTwice(schemes)), ...layout.warnings],
    key: await runKey(source, json, layout, importance),
  };
}

/**
 * @returns undefined where nothing looks at activations, or where a file holds what is needed.
 * @throws RecipeError where statistics are needed that neither the model nor the file can give
 */
function plannedCalibration(
  model: Model,
  recipe: Recipe,
  schemes: Resolved['schemes'],
  { statistics, calibrationContext }: PlanOptions,
): PlannedCalibration | undefined {
  const needing = schemes.filter(({ scheme }) => needsOf(scheme).length > 0);
  const [first] = needing;
  const looking = recipe.transforms?.find((one) => transformNeeds(one).length > 0);
  if (!first && !looking) return undefined;
  if (statistics && recipe.transforms) {
    throw new RecipeError({
      what: `${recipe.transforms[0]!.kind} changes the inputs that these statistics speak of`,
      where: statistics.name,
      next: 'leave --stats out: the run collects what it needs, or use a method without a transform',
    });
  }
  if (statistics) {
    for (const { tensor, scheme } of needing) checkStatistics(statistics, tensor, needsOf(scheme));
    return undefined;
  }
  const { spec } = model;
  if (!spec) {
    throw new RecipeError({
      what: `${first ? needsOf(first.scheme).join(' and ') : looking!.kind} of the inputs can only be collected from a model that can be run`,
      where: first?.tensor.name ?? model.name,
      next: 'give a statistics file with --stats, or use --method rtn',
    });
  }
  const stated = { ...defaultCalibration, ...recipe.calibration };
  const samples = stated.samples ?? DEFAULT_SAMPLES;
  const context = stated.context ?? calibrationContext ?? Math.min(2048, spec.context);
  if (context > spec.context && spec.rope.scaling.kind !== 'dynamic') {
    throw new RecipeError({
      what: 'the context of the calibration is longer than the model allows',
      where: '--context',
      value: context,
      limit: spec.context,
    });
  }
  const blind = needing.find(({ tensor }) => !hasInput(model, tensor));
  if (blind) {
    throw new RecipeError({
      what: `${needsOf(blind.scheme).join(' and ')} of its input cannot be collected: it is not multiplied with activations`,
      where: blind.tensor.name,
      next: 'choose a range and a rounding that look at the weights alone for it',
    });
  }
  const layers = looking
    ? spec.layers
    : needing.reduce((most, { tensor }) => Math.max(most, (tensor.layer ?? spec.layers - 1) + 1), 0);
  return { ...stated, samples, context, tokens: samples * context, layers };
}

/** What of it is the recipe's. */
function statedOf({ tokens: _, layers: __, ...stated }: PlannedCalibration): Calibration {
  return stated;
}

function checkStatistics(statistics: StatisticsReader, { name, stored }: WeightTensor, kinds: readonly StatisticKind[]): void {
  const linear = linearOf(name);
  for (const kind of kinds) {
    const shape = statistics.shape(linear, kind);
    if (shape?.at(-1) === stored.cols) continue;
    if (shape) {
      throw new RecipeError({
        what: `the ${kind} has another width than the tensor`,
        where: `${statistics.name}: ${linear}`,
        value: `[${shape}]`,
        limit: stored.cols,
        next: 'make the statistics from this model',
      });
    }
    throw new RecipeError({
      what: `the statistics hold no ${kind} of this linear's input`,
      where: `${statistics.name}: ${linear}`,
      value: `${stored.rows} x ${stored.cols}`,
      next: 'make them with fewbits calibrate, or keep the tensor with --keep',
    });
  }
}

/** Quantizing what is quantized adds the errors of both. */
function roundedTwice(schemes: Resolved['schemes']): string[] {
  const twice = schemes.filter(({ tensor: { stored }, scheme }) => {
    if (stored.form === 'values' || (stored.form === 'storage' && storage[stored.type].block === 1)) return false;
    if (scheme.kind !== 'storage') return isWeightScheme(scheme);
    return storage[scheme.type].block > 1 && (stored.form !== 'storage' || stored.type !== scheme.type);
  });
  const [first] = twice;
  if (!first) return [];
  return [
    `${twice.length} tensors are quantized already (${first.tensor.name}: ${first.tensor.type}) and are rounded a second time; start from the original model, or say --requantize`,
  ];
}

/** What the bytes follow: with the search they are not llama.cpp's any more. */
function conventionOf({ convention }: Container, schemes: Resolved['schemes']): string {
  const searched = schemes.filter(({ scheme }) => scheme.kind === 'storage' && scheme.encoder === 'search');
  if (!searched.length) return convention;
  const tensors = searched.length === 1 ? '1 tensor' : `${searched.length} tensors`;
  return `${convention}; of ${tensors} only the layout is: scales and codes are searched for the least weighted squared error`;
}

function outputOf(name: string, allowed: 'file' | 'folder' | 'either', extensions: readonly string[]): Plan['output'] {
  if (/[\\/]/.test(name)) {
    throw new RecipeError({
      what: 'the output is a name, not a path',
      where: name,
      next: 'give the folder to run, as its store',
    });
  }
  if (allowed === 'folder' && /\.(safetensors|gguf)$/i.test(name)) {
    throw new RecipeError({ what: 'the output must be a folder of this container', where: name, next: 'drop the extension' });
  }
  const asFile = extensions.some((extension) => name.toLowerCase().endsWith(extension));
  if (allowed === 'file' && !asFile) {
    throw new RecipeError({
      what: 'the output must be a file of this container',
      where: name,
      next: `end its name with ${extensions.join(' or ')}`,
    });
  }
  return { name, kind: asFile && allowed !== 'folder' ? 'file' : 'folder' };
}

/** The same recipe on the same source with the same importance matrix writes the same bytes: a journal belongs to exactly that. */
async function runKey(
  source: string,
  recipe: JsonObject,
  layout: Layout,
  importance: ReadonlyMap<string, Float32Array>,
): Promise<string> {
  const weights = await Promise.all(
    [...importance].map(async ([name, row]) => [name, await sha256(new Uint8Array(row.slice().buffer))] as const),
  );
  const places = layout.tensors.map((t) => [t.name, schemeLabel(t.scheme), t.fields]);
  return sha256(JSON.stringify([VERSION, source, recipe, layout.files.map((f) => [f.name, f.size]), places, weights]));
}

function kvCache(model: Model, context?: number): { kvCache?: { context: number; bytes: number } } {
  const { spec } = model;
  if (!spec) return {};
  const tokens = context ?? spec.context;
  return { kvCache: { context: tokens, bytes: 2 * spec.layers * spec.kvHeads * spec.headDim * tokens * 2 } };
}
