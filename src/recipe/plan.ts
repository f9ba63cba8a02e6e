/**
 * The plan: what a run will write, from headers alone. Every byte range of the output is known here; the run only fills them.
 */

import type { JsonObject } from '../checkpoint/types.ts';
import { RecipeError } from '../errors.ts';
import { fingerprint, sha256 } from '../format/fingerprint.ts';
import { containers } from '../format/registry.ts';
import type { ContainerName, Layout, Model, PlacedTensor } from '../format/types.ts';
import { schemeLabel } from '../quantize/scheme.ts';
import { storage, storageBytes, storageKind } from '../tensor/storage.ts';
import { elements } from '../tensor/tensor.ts';
import { VERSION } from '../version.ts';
import { checkDecoder, parameters, type Resolved, resolveSchemes, seesAllValues } from './resolve.ts';
import { parseRecipe, type Recipe, type RecipeInput } from './schema.ts';

export interface PlanOptions {
  /** Name of the output, without its folder. Its extension decides between a file and a folder. */
  output?: string;
  /** Importance matrix: canonical tensor name -> [cols] (llama.cpp's imatrix, mean square of the inputs). */
  importance?: ReadonlyMap<string, Float32Array>;
  maxShardSize?: number;
  /** Workers; the peak of memory depends on it, the bytes do not. */
  threads?: number;
  /** Context for the key/value cache figure; default the model's. */
  context?: number;
  /** The source may be quantized already: no warning. */
  requantize?: boolean;
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
  readonly tensors: readonly PlannedTensor[];
  /** Size of the output's files, exact. */
  readonly bytes: number;
  readonly parameters: number;
  /** 8 x bytes of tensor data / parameters: scales and zeros counted, headers and padding not. */
  readonly bitsPerWeight: number;
  /** Bound on the memory of the run, in bytes. */
  readonly peakMemory: number;
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
  const { schemes, warnings } = resolveSchemes(model, parsed, container, importance.size > 0);
  // A model is a folder where the container can be one: only there its configuration and tokenizer have a place.
  const extension = container.output === 'file' || !model.spec ? (container.extensions[0] ?? '') : '';
  if (importance.size > 0 && !schemes.some(({ scheme }) => scheme.kind === 'storage' && storageKind(scheme.type) === 'block')) {
    warnings.push('the importance matrix changes nothing here: only the ggml block types use one');
  }
  const output = outputOf(options.output ?? `model${extension}`, container.output, container.extensions);
  const source = await fingerprint(model.checkpoint);
  const quantized = schemes.some(
    ({ scheme }) => scheme.kind === 'integer' || (scheme.kind === 'storage' && storageKind(scheme.type) === 'block'),
  );
  const json = JSON.parse(JSON.stringify(parsed)) as JsonObject;
  const placed = await container.layout({
    model,
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
    tensors: layout.tensors.map((t) => ({ name: t.name, source: t.source, scheme: t.label, bytes: t.bytes, shape: t.shape })),
    bytes,
    parameters: count,
    bitsPerWeight: count ? (8 * data) / count : 0,
    peakMemory: peakMemory(layout, options.threads ?? 1),
    load: { weights: data, ...kvCache(model, options.context) },
    runtimes: container.runtimes(layout, model),
    convention: container.convention,
    warnings: [...model.warnings, ...warnings, ...(options.requantize ? [] : roundedTwice(schemes)), ...layout.warnings],
    key: await runKey(source, json, layout, importance),
  };
}

/** Quantizing what is quantized adds the errors of both. */
function roundedTwice(schemes: Resolved['schemes']): string[] {
  const twice = schemes.filter(({ tensor: { stored }, scheme }) => {
    if (stored.form === 'values' || (stored.form === 'storage' && storage[stored.type].block === 1)) return false;
    if (scheme.kind !== 'storage') return scheme.kind === 'integer';
    return storage[scheme.type].block > 1 && (stored.form !== 'storage' || stored.type !== scheme.type);
  });
  const [first] = twice;
  if (!first) return [];
  return [
    `${twice.length} tensors are quantized already (${first.tensor.name}: ${first.tensor.type}) and are rounded a second time; start from the original model, or say --requantize`,
  ];
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

/** Bytes of source that one tile reads: large enough for the disk, small enough that many workers stay within bounds. */
const TILE_BYTES = 4 * 2 ** 20;
/** Integer grids are encoded in JavaScript, with several arrays of a tile's values alive at once. */
const INTEGER_TILE_BYTES = 2 ** 19;

/** Rows of more values than this are cut where nothing depends on the row: a vector of a gigabyte has only one. */
const LONG_ROW = 2 ** 20;

/** Float tensors with long rows, seen as one column of values, so that tiles of them are small. */
function cutLongRows(tensor: PlacedTensor): PlacedTensor {
  const { from, scheme, fields } = tensor;
  if (from.form !== 'storage' || scheme.kind !== 'storage' || from.order || from.cols <= LONG_ROW) return tensor;
  if (storageKind(from.type) === 'block' || storageKind(scheme.type) === 'block') return tensor;
  const data = { ...from.data, rowBytes: storageBytes(from.type, 1) };
  return {
    ...tensor,
    from: { ...from, rows: from.rows * from.cols, cols: 1, data },
    fields: { data: { ...fields['data']!, rowBytes: storageBytes(scheme.type, 1) } },
  };
}

/** The row ranges in which a tensor is worked. They depend on the plan alone, so that sums over tiles do not depend on threads. */
export function tilesOf(tensor: PlacedTensor): (readonly [from: number, to: number])[] {
  const { rows } = tensor.from;
  const rowBytes = Math.max(sourceRowBytes(tensor), tensor.bytes / Math.max(1, rows));
  const tileBytes = tensor.scheme.kind === 'integer' ? INTEGER_TILE_BYTES : TILE_BYTES;
  const wanted = Math.max(1, Math.floor(tileBytes / Math.max(1, rowBytes)));
  const step = Math.max(tensor.rowMultiple, Math.floor(wanted / tensor.rowMultiple) * tensor.rowMultiple);
  const tiles: (readonly [number, number])[] = [];
  for (let from = 0; from < rows; from += step) tiles.push([from, Math.min(rows, from + step)]);
  return tiles;
}

/**
 * The row ranges whose limits a scale for the whole tensor is made of. Smallest and largest values can be merged over tiles; a
 * percentile or a search needs all values at once (`resolveSchemes` refuses tensors that are too large for it).
 */
export function surveyTilesOf(tensor: PlacedTensor): (readonly [from: number, to: number])[] {
  const { scheme, from } = tensor;
  return scheme.kind === 'integer' && seesAllValues(scheme) ? [[0, from.rows]] : tilesOf(tensor);
}

function sourceRowBytes({ from }: PlacedTensor): number {
  switch (from.form) {
    case 'storage':
      return from.data.rowBytes;
    case 'values':
      return from.cols * 4;
    case 'tile':
      return from.cols * 4;
  }
}

/**
 * Measured: Node itself with the library; a worker's own isolate and kernels; and what an isolate lets pile up outside of its heap
 * before it collects (V8 allows 64 MB), which integer grids do, because they are encoded in JavaScript arrays.
 */
const BASE_MEMORY = 160e6;
const WORKER_MEMORY = 30e6;
const WORKER_GARBAGE = 80e6;

function peakMemory(layout: Layout, threads: number): number {
  let tile = 0;
  for (const tensor of layout.tensors) {
    const [first] = tilesOf(tensor);
    if (!first) continue;
    const share = (first[1] - first[0]) / tensor.from.rows;
    const integers = tensor.scheme.kind === 'integer' ? 3 * 4 * elements(tensor.shape) * share : 0;
    const survey = tensor.scheme.kind === 'integer' && seesAllValues(tensor.scheme) ? 3 * 4 * elements(tensor.shape) : 0;
    tile = Math.max(tile, survey, (first[1] - first[0]) * sourceRowBytes(tensor) + 2 * share * tensor.bytes + integers);
  }
  const known = layout.files.reduce((sum, file) => sum + file.known.reduce((s, k) => s + k.bytes.length, 0), 0);
  const garbage = layout.tensors.some((tensor) => tensor.scheme.kind === 'integer') ? WORKER_GARBAGE : 0;
  return Math.ceil(BASE_MEMORY + 2 * known + threads * (WORKER_MEMORY + garbage + tile));
}

function kvCache(model: Model, context?: number): { kvCache?: { context: number; bytes: number } } {
  const { spec } = model;
  if (!spec) return {};
  const tokens = context ?? spec.context;
  return { kvCache: { context: tokens, bytes: 2 * spec.layers * spec.kvHeads * spec.headDim * tokens * 2 } };
}
