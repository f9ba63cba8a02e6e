/**
 * The plan: what a run will write, from headers alone. Every byte range of the output is known here; the run only fills them.
 */

import type { JsonObject } from '../checkpoint/types.ts';
import { RecipeError } from '../errors.ts';
import { fingerprint, identity, sameSource, sha256 } from '../format/fingerprint.ts';
import { fileTypeNamed, fileTypes } from '../format/gguf/types.ts';
import { containers } from '../format/registry.ts';
import type { Container, ContainerName, Layout, Model, PlacedTensor, WeightTensor } from '../format/types.ts';
import { kvCacheBytes, kvGeometry } from '../hardware/index.ts';
import { inputGroups, linearOf } from '../model/index.ts';
import { checkKvScheme, kvPreset } from '../quantize/kv/index.ts';
import { isWeightScheme, type Rounding, type Scheme, schemeLabel } from '../quantize/scheme.ts';
import { type StatisticKind, type StatisticsReader, statisticKinds } from '../quantize/statistics.ts';
import type { KvScheme } from '../quantized/types.ts';
import { storage, storageKind } from '../tensor/storage.ts';
import { elements } from '../tensor/tensor.ts';
import { VERSION } from '../version.ts';
import { type Gathered, gatheredOnce, type Looks, looksOf } from './looks.ts';
import { gatheredBytes, peakMemory, spillBytes } from './memory.ts';
import { hasInput, looksAtLoss, needsOf, staticInput, transformNeeds } from './needs.ts';
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
  /** How its codes are chosen; left out: the nearest ones. */
  feedback?: Rounding['kind'];
  bytes: number;
  shape: readonly number[];
}

/** What the bytes of an output depend on, as far as a plan knows it; hashes. */
export type KeyParts = Readonly<Record<'version' | 'source' | 'recipe' | 'statistics' | 'layout', string>>;

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
  /** What one walk through the model as it is collects for transforms and what follows them, instead of a walk for each. */
  readonly gathered?: Gathered;
  /** Of the inputs of the rewritten model, while the plan runs. */
  readonly inputs?: StatisticsReader;
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
  /** Disk that the run takes besides its output, in bytes: hidden states that memory does not hold, rewritten weights. */
  readonly spillBytes: number;
  /** Memory of a runtime that holds the file, and its key/value cache at f16. */
  readonly load: { weights: number; kvCache?: { context: number; bytes: number } };
  readonly runtimes: readonly string[];
  readonly convention: string;
  readonly warnings: readonly string[];
  /** Names the run: a hash of its parts. */
  readonly key: string;
  readonly keyParts: KeyParts;
}

/** @throws RecipeError, ModelError: everything that can be known before the first byte is written. */
export async function plan(model: Model, recipe: RecipeInput, options: PlanOptions = {}): Promise<Plan> {
  const parsed = parseRecipe(recipe);
  const name = parsed.container ?? 'fewbits';
  const container = containers[name];
  const importance = options.importance ?? new Map<string, Float32Array>();
  const rewritten = parsed.transforms && (await rewrittenModel(model, parsed.transforms));
  const kv = plannedCache(model, parsed);
  const subject: Model = { ...(rewritten?.model ?? model), ...(kv && { kv }) };
  checkRunTime(container, subject);
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
  const quantized = schemes.some(({ scheme }) => isQuantized(scheme));
  const searching = parsed.transforms?.find(({ kind }) => kind === 'awq');
  if (searching && !schemes.some(({ tensor, scheme }) => tensor.layer !== undefined && isQuantized(scheme))) {
    throw new RecipeError({
      what: 'a search of scales tries how the linears will be rounded, and none of them is quantized',
      where: `transforms: ${searching.kind}`,
      next: 'leave the transform out, or quantize linears',
    });
  }
  const looks = rewritten && (await looksOf(model, rewritten, schemes));
  const calibration = plannedCalibration(subject, parsed, schemes, looks, options);
  // Static inputs and losses are those of the rewritten model as it runs.
  const runs = schemes.some(({ scheme }) => staticInput(scheme) !== undefined || looksAtLoss(scheme));
  const gathered =
    calibration?.order === 'parallel' && !runs ? looks && gatheredOnce(looks, ({ layer }) => layer === undefined) : undefined;
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
    ...(statistics && { statistics: rewritten ? sharedInputs(subject) : statistics }),
    ...(gathered && { statistics: sharedInputs(subject) }),
  });
  const parts = await keyParts(source, json, layout, importance);
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
    ...(gathered && { gathered }),
    nodes,
    tensors: layout.tensors.map((t) => ({
      name: t.name,
      source: t.source,
      scheme: t.label,
      ...feedbackOf(t),
      bytes: t.bytes,
      shape: t.shape,
    })),
    bytes,
    parameters: count,
    bitsPerWeight: count ? (8 * data) / count : 0,
    peakMemory: peakMemory({
      ...{ model: subject, layout, nodes, threads: options.threads ?? 1 },
      ...(calibration && { calibration }),
      ...(parsed.transforms && { transforms: parsed.transforms }),
      ...(gathered && { gathered }),
    }),
    spillBytes: spillBytes(model, calibration) + (rewritten?.fileSize ?? 0) + gatheredBytes(model, gathered),
    load: { weights: data, ...kvCache(model, options.context) },
    runtimes: container.runtimes(layout, subject),
    convention: conventionOf(container, layout),
    warnings: [
      ...model.warnings,
      ...warnings,
      ...(await statisticsWarnings(model, statistics)),
      ...(options.requantize ? [] : roundedTwice(schemes)),
      ...lostInputs(schemes),
      ...grown(model, layout),
      ...untied(model, subject),
      ...idle(parsed, quantized),
      ...layout.warnings,
    ],
    key: await sha256(JSON.stringify(parts)),
    keyParts: parts,
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
  looks: Looks | undefined,
  { statistics, calibrationContext }: PlanOptions,
): PlannedCalibration | undefined {
  const needing = schemes.filter(({ scheme }) => needsOf(scheme).length > 0);
  const [first] = needing;
  const looking = recipe.transforms?.find((one) => transformNeeds(one).length > 0);
  const byLoss = schemes.find(({ scheme }) => looksAtLoss(scheme));
  if (!first && !looking && !byLoss) return undefined;
  if (statistics && byLoss) {
    throw new RecipeError({
      what: 'cross-entropy runs the model on a text, and statistics of inputs do not tell its loss',
      where: statistics.name,
      next: 'leave --stats out, or choose the range mse, imatrix or output-mse',
    });
  }
  if (statistics) for (const { tensor, scheme } of needing) checkObserver(statistics, tensor, scheme);
  if (statistics && looks) {
    for (const { tensor, kind, before, rotated } of [...looks.byTransforms.flat(), ...looks.bySchemes]) {
      if (before) checkStatistics(statistics, tensor, [before]);
      else
        throw new RecipeError({
          what: `${rotated} mixes the channels of this input: the ${kind} of what comes of it is not told by that of the channels`,
          where: `${statistics.name}: ${linearOf(tensor.name)}`,
          next: 'leave --stats out: the run collects what it needs from the rewritten model',
        });
    }
    return undefined;
  }
  if (statistics) {
    for (const { tensor, scheme } of needing) checkStatistics(statistics, tensor, needsOf(scheme));
    return undefined;
  }
  const { spec } = model;
  if (!spec) {
    throw new RecipeError({
      what: byLoss
        ? 'the range cross-entropy is chosen by the loss of a model that can be run'
        : `${first ? needsOf(first.scheme).join(' and ') : looking!.kind} of the inputs can only be collected from a model that can be run`,
      where: (byLoss ?? first)?.tensor.name ?? model.name,
      next: byLoss ? 'choose the range mse' : 'give a statistics file with --stats, or use --method rtn',
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
  const layers =
    looking || byLoss
      ? spec.layers
      : needing.reduce((most, { tensor }) => Math.max(most, (tensor.layer ?? spec.layers - 1) + 1), 0);
  return { ...stated, samples, context, tokens: samples * context, layers };
}

/** Linears that read one value, where statistics are those of a model that still has to be rewritten. */
function sharedInputs({ spec }: Model): Pick<StatisticsReader, 'shared'> {
  const layers = Array.from({ length: spec!.layers + 1 }, (_, layer) => inputGroups(spec!, layer)).flat();
  const first = new Map(layers.flatMap(({ linears }) => linears.map((linear) => [linear, linears[0]!] as const)));
  return { shared: (linear) => first.get(linear) ?? linear };
}

/** @throws RecipeError for a bag of tensors, or a cache that does not fit the heads */
function plannedCache({ spec, name }: Model, { kv }: Recipe): KvScheme | undefined {
  if (kv === undefined) return undefined;
  if (!spec)
    throw new RecipeError({ what: 'a bag of tensors generates nothing', where: '--kv-bits', value: name, next: 'leave it out' });
  const scheme = typeof kv === 'string' ? kvPreset(kv, spec.headDim) : (kv as KvScheme);
  checkKvScheme(scheme, spec.headDim);
  return scheme;
}

/** What happens while the model runs has to be said in the file. */
function checkRunTime({ name, statesRunTime }: Container, { online, kv }: Model): void {
  if (statesRunTime || !(online?.length || kv)) return;
  throw new RecipeError({
    what: online?.length
      ? `${name} cannot say which rotations stay in the model`
      : `${name} does not say how keys and values are stored`,
    where: online?.length ? 'transforms' : '--kv-bits',
    next: online?.length
      ? 'use --to fewbits, or leave out down, queryKey and full values'
      : 'use --to fewbits, or give --kv-bits to generate and evaluate',
  });
}

function feedbackOf({ scheme }: PlacedTensor): Pick<PlannedTensor, 'feedback'> {
  return scheme.kind !== 'keep' && scheme.rounding ? { feedback: scheme.rounding.kind } : {};
}

/** What is rounded with feedback, or searched, is not what a container's own tools encode. */
function conventionOf({ convention, feedbackConvention = convention }: Container, { tensors }: Layout): string {
  const quantized = tensors.filter(({ scheme }) => isQuantized(scheme));
  const solved = quantized.flatMap(({ scheme }) => (scheme.kind !== 'keep' && scheme.rounding ? [scheme.rounding] : []));
  const searched = quantized.filter(({ scheme }) => scheme.kind === 'storage' && scheme.encoder === 'search').length;
  if (searched > 0) {
    const some = searched === 1 ? '1 tensor' : `${searched} tensors`;
    return `${convention}; of ${some} only the layout is: scales and codes are searched for the least weighted squared error`;
  }
  if (solved.length === 0) return convention;
  const refitted = solved.some(({ refine }) => refine > 0) ? ', scales and codes refined' : '';
  const fed = `${feedbackConvention}; codes by GPTQ${refitted}`;
  return solved.length === quantized.length ? fed : `${convention}; of ${solved.length} tensors: ${fed}`;
}

function isQuantized(scheme: Scheme): boolean {
  return isWeightScheme(scheme) || (scheme.kind === 'storage' && storageKind(scheme.type) === 'block');
}

/** A rotation makes a head of its own out of a shared embedding: that is a size that nobody asked for. */
function untied({ spec }: Model, rewritten: Model): string[] {
  if (!spec?.tied || rewritten.spec?.tied !== false) return [];
  const head = rewritten.tensors.find(({ role }) => role === 'output');
  const size = head ? `: ${elements(head.shape)} values more` : '';
  return [
    `the head shares its weight with the embedding, and the transforms change them in different ways: it becomes a tensor of its own${size}`,
  ];
}

/** A recipe that says what weights become, where none becomes that. */
function idle({ scheme, fileType, rules }: Recipe, quantized: boolean): string[] {
  const asked = [scheme, ...rules.map((rule) => rule.scheme)].some((one) => one !== undefined && isQuantized(one as Scheme));
  const typed = fileType !== undefined && storageKind(fileTypes[fileTypeNamed(fileType)].base) === 'block';
  return !quantized && (asked || typed)
    ? ['nothing is quantized here: every tensor is kept, or is none that the recipe speaks of']
    : [];
}

/** What of it is the recipe's. */
function statedOf({ tokens: _, layers: __, ...stated }: PlannedCalibration): Calibration {
  return stated;
}

/** A file tells the extremes over all tokens: no observer that looks at windows one after another. */
function checkObserver(statistics: StatisticsReader, { name }: WeightTensor, scheme: Scheme): void {
  const { observer = 'minmax' } = staticInput(scheme) ?? {};
  if (observer === 'minmax') return;
  throw new RecipeError({
    what: `a statistics file holds the extremes of inputs, and ${observer} looks at the inputs themselves`,
    where: `${statistics.name}: ${linearOf(name)}`,
    next: 'leave --stats out, or choose the observer minmax',
  });
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
    throw lacking(statistics, linear, kind);
  }
}

function lacking(statistics: StatisticsReader, linear: string, kind: StatisticKind): RecipeError {
  const { name } = statistics;
  const linears = statistics.linears();
  const holding = linears.filter((one) => statistics.has(one, kind));
  if (holding.length === 0) {
    const imatrix = !linears.some((one) => statisticKinds.some((k) => k !== 'meansquare' && statistics.has(one, k)));
    return new RecipeError({
      what: `the statistics hold no ${kind} of any input${imatrix ? ': an importance matrix has mean squares only' : ''}`,
      where: name,
      next: 'make them with fewbits calibrate MODEL -o STATS.safetensors, or leave --stats out',
    });
  }
  const layers = [...new Set(holding.flatMap((one) => /\.(\d+)\./.exec(one)?.[1] ?? []).map(Number))].sort((a, b) => a - b);
  const partial = /\.(\d+)\./.exec(linear)?.[1];
  const elsewhere = layers.length > 0 && !layers.includes(Number(partial ?? -1));
  const range = layers.length > 1 ? `${layers[0]}-${layers.at(-1)}` : `${layers[0]}`;
  return new RecipeError({
    what: `the statistics hold no ${kind} of this linear's input${elsewhere ? `; of layers they hold ${layers.join(', ')}` : ''}`,
    where: `${name}: ${linear}`,
    next: elsewhere
      ? `calibrate without --layers, quantize with --layers ${range}, or keep the tensor with --keep`
      : 'make them with fewbits calibrate, or keep the tensor with --keep',
  });
}

/** Statistics of another model pass every check of shapes. */
async function statisticsWarnings(model: Model, statistics: StatisticsReader | undefined): Promise<string[]> {
  const { provenance, name } = statistics ?? {};
  if (!provenance || sameSource(provenance, await identity(model.checkpoint))) return [];
  return [
    `${name}: the statistics were made from another model, or from another file of it; make them from this one with fewbits calibrate`,
  ];
}

/** A new scheme says for itself whether inputs are quantized. */
function lostInputs(schemes: Resolved['schemes']): string[] {
  const lost = schemes.filter(
    ({ tensor, scheme }) => tensor.input && scheme.kind !== 'keep' && !(isWeightScheme(scheme) && scheme.input),
  );
  const [first] = lost;
  if (!first) return [];
  return [`${lost.length} linears quantize their inputs in the source and no longer do (${first.tensor.name})`];
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

/** Small rows under a table of their own, or wide codes of a narrow source: what is quantized takes more room than it did. */
function grown({ tensors }: Model, { tensors: placed }: Layout): string[] {
  const before = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const larger = placed.flatMap(({ source, scheme, bytes, label }) => {
    const tensor = before.get(source);
    return tensor && isQuantized(scheme) && bytes > tensor.bytes ? [{ tensor, bytes, label }] : [];
  });
  const [most] = larger.sort((a, b) => b.bytes / b.tensor.bytes - a.bytes / a.tensor.bytes);
  if (!most) return [];
  const { tensor, bytes, label } = most;
  const what = `${tensor.name} takes ${bytes} bytes as ${label}, and ${tensor.bytes} as ${tensor.type} in the source`;
  const others = larger.length > 1 ? `, and ${larger.length - 1} other tensors grow too` : '';
  return [`${what}${others}: choose a smaller type, or keep what grows (--keep)`];
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

/**
 * The same recipe on the same source with the same importance matrix writes the same bytes: a journal belongs to exactly that.
 * @returns a hash of each, by what it is
 */
async function keyParts(
  source: string,
  recipe: JsonObject,
  { files, tensors }: Layout,
  importance: ReadonlyMap<string, Float32Array>,
): Promise<KeyParts> {
  const weights = await Promise.all(
    [...importance].map(async ([name, row]) => [name, await sha256(new Uint8Array(row.slice().buffer))] as const),
  );
  const places = tensors.map((t) => [t.name, schemeLabel(t.scheme), t.fields]);
  return {
    version: VERSION,
    source,
    recipe: await sha256(JSON.stringify(recipe)),
    statistics: await sha256(JSON.stringify(weights)),
    layout: await sha256(JSON.stringify([files.map((f) => [f.name, f.size]), places])),
  };
}

function kvCache(model: Model, context?: number): { kvCache?: { context: number; bytes: number } } {
  const { spec } = model;
  if (!spec) return {};
  const tokens = context ?? spec.context;
  return { kvCache: { context: tokens, bytes: kvCacheBytes(kvGeometry(spec), tokens) } };
}
