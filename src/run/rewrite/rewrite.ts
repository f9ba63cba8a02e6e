/**
 * The first part of a run whose recipe has transforms: statistics of the model as it is, the rewrite that follows from them, and its
 * application to every tensor, tile by tile, into one f32 file of the unfinished folder. What comes after sees a model like any other.
 *
 *   OUT.unfinished/rewritten.safetensors   the model as the transforms leave it
 *   OUT.unfinished/rewritten.json          what they did; written when the file is complete
 *   OUT.unfinished/gathered.safetensors    statistics of the model as it was, where more than one transform or scheme looks at them
 */
import type { Model } from '../../format/types.ts';
import type { ByteSink, SourceHandle } from '../../io/types.ts';
import { type Kernels, loadKernels } from '../../kernels/index.ts';
import { type InputGroup, inputGroups, linearOf } from '../../model/index.ts';
import type { StatisticKind, Statistics, StatisticsReader } from '../../quantize/statistics.ts';
import {
  type AwqSearch,
  applyOperations,
  changedStatistic,
  rowsTogether,
  type Skipped,
  sourceTensor,
} from '../../quantize/transform/index.ts';
import type { Plan } from '../../recipe/plan.ts';
import { type RewrittenModel, rewrittenFrom } from '../../recipe/rewritten.ts';
import type { Transform } from '../../recipe/schema.ts';
import { collectStatistics } from '../calibration/collect.ts';
import type { CalibrationWindows } from '../calibration/windows.ts';
import type { RunPlace } from '../publish.ts';
import { RowReader } from '../row-reader.ts';
import { textOf } from '../text.ts';
import { weightReader } from '../weights.ts';
import {
  addChanges,
  changedReader,
  changesFrom,
  type InputChanges,
  noChanges,
  type StoredChanges,
  storedChanges,
} from './changes.ts';
import { gather } from './gather.ts';
import { roundTripOf } from './round-trip.ts';
import { type FoundRewrite, performTransform, type TransformContext } from './transforms.ts';

/** What a transform did, for the report. */
export interface TransformRecord {
  kind: Transform['kind'];
  /** Mappings that could not be used. */
  skipped: readonly Skipped[];
  /** AWQ: what was found for each input. */
  searches?: readonly AwqSearch[];
}

export interface RewriteOptions {
  calibration?: CalibrationWindows;
  signal?: AbortSignal;
  say(what: string): void;
}

export interface Rewritten {
  /** The plan whose tensors come from the rewritten file, and whose statistics and importance are those of the rewritten model. */
  plan: Plan;
  records: readonly TransformRecord[];
  /** To be called when the plan is done with. */
  close(): Promise<void>;
}

/** What is kept of a rewrite that is complete. */
interface Kept {
  records: TransformRecord[];
  changes: StoredChanges;
}

/** Makes the rewritten file, or takes over that of an earlier run. */
export async function rewriteModel(place: RunPlace, options: RewriteOptions): Promise<Rewritten> {
  const { plan } = place;
  const { rewritten, statistics, gathered } = plan;
  if (!rewritten) return { plan, records: [], close: async () => {} };
  const own =
    gathered &&
    (await gather(plan.model, options.calibration!, gathered, place, {
      ...(options.signal && { signal: options.signal }),
      spill: { store: place.store, folder: `${place.folder}/activations` },
      onProgress: ({ layer }) => options.say(`inputs of layer ${layer}`),
    }));
  const close = async () => own?.close();
  try {
    const known = statistics ?? own;
    const { records, changes, handle } = await rewrittenFile(place, rewritten, known, options);
    const inputs = known && changedReader(known, changes);
    const importance = await changedImportance(plan, changes, inputs);
    return { plan: { ...planFrom(plan, rewritten, handle), importance, ...(inputs && { inputs }) }, records, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function rewrittenFile(
  { plan, store, folder }: RunPlace,
  rewritten: RewrittenModel,
  known: StatisticsReader | undefined,
  options: RewriteOptions,
): Promise<{ records: TransformRecord[]; changes: InputChanges; handle: SourceHandle }> {
  const done = `${folder}/rewritten.json`;
  const name = `${folder}/rewritten.safetensors`;
  if ((await textOf(store, done)) === '') {
    const sink = await store.create(name, rewritten.fileSize);
    try {
      await sink.write(rewritten.header, 0);
      const { records, changes } = await rewriteInto(plan, rewritten, sink, known, options);
      await sink.flush();
      const kept: Kept = { records, changes: storedChanges(changes) };
      // A run that is killed while it writes this must not leave half of it under its name.
      const unnamed = `${done}.part`;
      await store.remove(unnamed);
      await store.append(unnamed, new TextEncoder().encode(JSON.stringify(kept)));
      await store.rename(unnamed, done);
    } finally {
      await sink.close();
    }
  }
  const { records, changes } = JSON.parse(await textOf(store, done)) as Kept;
  const source = await store.open(name);
  const { handle } = source;
  await source.close();
  return { records, changes: changesFrom(changes), handle };
}

/** An importance matrix of the model as it was, as one of the rewritten model: without the rows of inputs that are mixed, unless products are known. */
async function changedImportance(
  { importance }: Plan,
  { byWeight }: InputChanges,
  inputs: StatisticsReader | undefined,
): Promise<Plan['importance']> {
  const found = new Map<string, Float32Array>();
  for (const [name, row] of importance) {
    const changes = byWeight.get(name) ?? [];
    const linear = linearOf(name);
    if (changes.every(({ kind }) => kind === 'scale'))
      found.set(name, changedStatistic('meansquare', row, row.length, changes, linear));
    else if (inputs?.has(linear, 'meansquare')) found.set(name, await inputs.read(linear, 'meansquare'));
  }
  return found;
}

/** The plan with the file in the place of what stood for it. */
function planFrom(plan: Plan, rewritten: RewrittenModel, handle: SourceHandle): Plan {
  return {
    ...plan,
    model: modelFrom(rewritten.model, handle),
    layout: {
      ...plan.layout,
      tensors: plan.layout.tensors.map((tensor) => ({ ...tensor, from: rewrittenFrom(tensor.from, handle) })),
    },
  };
}

function modelFrom(model: Model, handle: SourceHandle): Model {
  return { ...model, tensors: model.tensors.map((tensor) => ({ ...tensor, stored: rewrittenFrom(tensor.stored, handle) })) };
}

async function rewriteInto(
  plan: Plan,
  rewritten: RewrittenModel,
  sink: ByteSink,
  known: StatisticsReader | undefined,
  options: RewriteOptions,
): Promise<{ records: TransformRecord[]; changes: InputChanges }> {
  const kernels = await loadKernels();
  const changes = noChanges();
  // A head that was one with the embedding is a copy of it from the first transform on.
  const embedding = plan.model.tensors.find(({ role }) => role === 'embedding')?.name;
  const before = new Set(plan.model.tensors.map(({ name }) => name));
  for (const name of rewritten.places.keys()) if (!before.has(name) && embedding) changes.copies.set(name, embedding);
  const records: TransformRecord[] = [];
  let current: Model = plan.model;
  const last = rewritten.transforms.length - 1;
  for (const [i, transform] of rewritten.transforms.entries()) {
    options.signal?.throwIfAborted();
    options.say(`looking for ${transform.kind}`);
    const inputs = known && changedReader(known, changes);
    const found = await findRewrite(plan, current, transform, kernels, inputs, options);
    addChanges(changes, found);
    const { skipped, searches } = found;
    records.push({ kind: transform.kind, skipped, ...(searches && { searches }) });
    options.say(`applying ${transform.kind}`);
    await apply(current, rewritten, found, sink, options);
    // The next one sees what this one has left.
    if (i < last) current = modelFrom(rewritten.model, sink.handle);
  }
  return { records, changes };
}

async function findRewrite(
  plan: Plan,
  model: Model,
  transform: Transform,
  kernels: Kernels,
  inputs: StatisticsReader | undefined,
  options: RewriteOptions,
): Promise<FoundRewrite> {
  const spec = model.spec!;
  const reader = weightReader(model);
  const roundTrips = new Map(plan.layout.tensors.map(({ source, scheme }) => [source, roundTripOf(scheme, kernels)]));
  try {
    return await performTransform(transform, {
      spec,
      kernels,
      weight: reader,
      eachLayer: (kinds, visit) =>
        inputs ? eachStored(spec.layers, inputs, visit, options) : eachLayer(model, kinds, visit, options),
      roundTripOf: (name) => roundTrips.get(name),
    });
  } finally {
    await reader.close?.();
  }
}

async function eachStored(
  layers: number,
  inputs: StatisticsReader,
  visit: Parameters<TransformContext['eachLayer']>[1],
  { signal }: RewriteOptions,
): Promise<void> {
  for (let layer = 0; layer < layers; layer++) {
    signal?.throwIfAborted();
    await visit(layer, (linear, kind) => inputs.read(linear, kind));
  }
}

/** Hands over the statistics of a layer as soon as all its inputs have been seen. */
async function eachLayer(
  model: Model,
  kinds: readonly StatisticKind[],
  visit: Parameters<TransformContext['eachLayer']>[1],
  { calibration, signal, say }: RewriteOptions,
): Promise<void> {
  const spec = model.spec!;
  const found = new Map<string, Statistics>();
  let layer = 0;
  let seen = 0;
  await collectStatistics(model, calibration!, {
    kinds,
    layers: { from: 0, to: spec.layers - 1 },
    ...(signal && { signal }),
    onProgress: (at) => say(`inputs of layer ${at.layer}`),
    onStatistics: async ({ linears }: InputGroup, statistics) => {
      for (const linear of linears) found.set(linear, statistics);
      if (++seen < inputGroups(spec, layer).length) return;
      await visit(layer, async (linear, kind) => found.get(linear)![kind] as Float32Array);
      found.clear();
      seen = 0;
      layer++;
    },
  });
}

/** Values of a tile of the rewrite. */
const TILE_VALUES = 2 ** 20;

async function apply(
  model: Model,
  { places }: RewrittenModel,
  rewrite: FoundRewrite,
  sink: ByteSink,
  { signal }: RewriteOptions,
): Promise<void> {
  const operations = [...rewrite.operations, ...rewrite.clips];
  const sources = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  const embedding = model.tensors.find(({ role }) => role === 'embedding');
  const reader = new RowReader();
  try {
    for (const [name, { offset }] of places) {
      // A head that was one with the embedding starts as a copy of it.
      const source = (sources.get(sourceTensor(name, rewrite)) ?? embedding)!;
      const { shape } = source;
      // The entries of a vector are rows.
      const [rows, cols] = shape.length === 1 ? [shape[0]!, 1] : [source.stored.rows, source.stored.cols];
      const together = rowsTogether(name, operations);
      const step = shape.length === 1 ? rows : Math.max(together, Math.floor(TILE_VALUES / cols / together) * together);
      for (let from = 0; from < rows; from += step) {
        signal?.throwIfAborted();
        const to = Math.min(rows, from + step);
        const values = shape.length === 1 ? await vectorOf(reader, source) : await rowsOf(reader, source, from, to);
        applyOperations(values, { name, shape, from, to }, operations);
        await sink.write(new Uint8Array(values.buffer), offset + 4 * from * cols);
      }
    }
  } finally {
    await reader.close();
  }
}

/** [n] */
function vectorOf(reader: RowReader, { stored }: Model['tensors'][number]): Promise<Float32Array> {
  return reader.rows(
    stored,
    Int32Array.from({ length: stored.rows }, (_, i) => i),
  );
}

/** [to - from, cols] */
function rowsOf(reader: RowReader, { stored }: Model['tensors'][number], from: number, to: number): Promise<Float32Array> {
  return reader.rows(
    stored,
    Int32Array.from({ length: to - from }, (_, i) => from + i),
  );
}
