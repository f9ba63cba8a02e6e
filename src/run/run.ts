/**
 * Executes a plan: tiles are encoded by workers and written at their planned places into an unfinished folder beside the output;
 * a journal remembers finished tiles; when all are done and checked, the output gets its name in one rename.
 *
 *   OUT.unfinished/lock              the process that works on it
 *   OUT.unfinished/journal.jsonl     what is done
 *   OUT.unfinished/files/...         the output being written
 *   OUT.unfinished/publishing        the output is getting its name
 */

import { peakMemory } from '#run/spawn';
import { LimitError } from '../errors.ts';
import type { TileErrors } from '../evaluate/tensor-report.ts';
import { writeField } from '../format/field-ranges.ts';
import { contentSample, sha256 } from '../format/fingerprint.ts';
import type { PlacedTensor } from '../format/types.ts';
import type { ByteSink, Store } from '../io/types.ts';
import { type Plan, tilesOf } from '../recipe/plan.ts';
import { checkOutput } from './check-output.ts';
import { type Journal, openJournal } from './journal.ts';
import { takeLock } from './lock.ts';
import { Progress, type ProgressEvent } from './progress.ts';
import { placeOf, publish, type RunPlace, refuseExisting, takeBack } from './publish.ts';
import { buildReport, type Report } from './report.ts';
import { surveyTensors } from './survey.ts';
import type { TileField, TileResult, TileTask } from './tile.ts';
import { tileSource } from './tile-source.ts';
import { type TileWorkers, tileWorkers } from './workers.ts';

export interface RunOptions {
  /** Workers. The bytes do not depend on it. */
  threads?: number;
  /** none: nothing is read back. For benchmarks. */
  verify?: 'full' | 'none';
  /** Replace an output that exists. */
  force?: boolean;
  /** Throw an unfinished output away instead of continuing it. */
  restart?: boolean;
  signal?: AbortSignal;
  onProgress?: (event: ProgressEvent) => void;
}

/**
 * @param store where the output's name lives: the folder that will hold it.
 * @throws NumericError (NaN in a weight), FileError (disk full, output exists, another process at work), LimitError, RecipeError.
 *   An unfinished output stays only where the same command can continue it: after an abort, or when memory ran out.
 */
export async function run(plan: Plan, store: Store, options: RunOptions = {}): Promise<Report> {
  // Headers do not tell two models of the same shapes apart, and tiles of one must never be continued with those of another.
  const place = placeOf(plan, store, await sha256(plan.key + (await contentSample(plan.model.checkpoint))));
  const { folder } = place;
  const begun = (await store.stat(folder)) !== undefined;
  if (!begun) await refuseExisting(place, options.force ?? false);
  const unlock = await takeLock(store, `${folder}/lock`);
  let stays = begun;
  try {
    await takeBack(place);
    await refuseExisting(place, options.force ?? false);
    await checkSpace(place);
    const journal = await openJournal(store, folder, place.key, options.restart ?? false);
    stays = false;
    return await execute(place, journal, options);
  } catch (error) {
    // What the same command can continue stays: an interrupted run, or one that the machine had no memory for. Nothing else does.
    stays ||= options.signal?.aborted === true || error instanceof LimitError;
    throw error;
  } finally {
    await unlock();
    if (!stays) await store.remove(folder);
  }
}

async function execute(place: RunPlace, journal: Journal, options: RunOptions): Promise<Report> {
  const started = performance.now();
  const { plan, store, files } = place;
  const { layout } = plan;
  const verify = options.verify ?? 'full';
  const sinks: ByteSink[] = [];
  const workers = await tileWorkers(options.threads ?? 1);
  try {
    for (const file of layout.files) sinks.push(await createFile(store, `${files}/${file.name}`, file));
    const surveys = await surveyTensors(layout.tensors, workers, options.signal);
    const progress = new Progress(layout.tensors, options.onProgress);
    const errors: TileErrors[][] = layout.tensors.map(() => []);
    let resumed = 0;
    const known = new Map(journal.done.map(([tensor, from, entry]) => [`${tensor}:${from}`, entry]));
    const one = async (index: number, rows: readonly [number, number]) => {
      const tensor = layout.tensors[index]!;
      const task = taskOf(plan, tensor, sinks, rows, surveys.get(index));
      const before = known.get(`${index}:${rows[0]}`);
      let result: TileResult | undefined;
      if (before !== undefined) result = await recheck(task, before, verify, workers);
      if (result) resumed++;
      else {
        result = await workers.tile({ ...task, steps: verify === 'none' ? 'write' : 'both' });
        for (const { key, bytes } of result.pieces ?? [])
          await writeField(sinks[tensor.fields[key]!.file]!, tensor.fields[key]!, rows, bytes);
        await journal.add([index, rows[0], result.errors ?? null]);
      }
      if (result.errors) errors[index]!.push(result.errors);
      progress.add(index, rows);
    };
    await inOrder(jobs(layout.tensors, one), workers.size * 2, options.signal);
    for (const sink of sinks) await sink.flush();
    if (verify !== 'none') await checkOutput(plan, store, files);
    const report = buildReport(plan, {
      output: `${store.name}/${plan.output.name}`,
      seconds: (performance.now() - started) / 1000,
      peakMemory: peakMemory(),
      verified: verify !== 'none',
      resumed,
      errors,
    });
    await closeAll(sinks, workers);
    await publish(place, report);
    return report;
  } finally {
    await closeAll(sinks, workers);
  }
}

/** Files that are open cannot be renamed or removed everywhere: nobody holds one when the output gets its name. */
async function closeAll(sinks: ByteSink[], workers: TileWorkers): Promise<void> {
  await workers.close();
  for (const sink of sinks.splice(0)) await sink.close();
}

async function checkSpace({ plan, store, files }: RunPlace): Promise<void> {
  const free = await store.free();
  if (free === undefined) return;
  let reserved = 0;
  for (const file of plan.layout.files) reserved += (await store.stat(`${files}/${file.name}`))?.size ?? 0;
  const needed = plan.layout.files.reduce((sum, file) => sum + file.size, 0) - reserved;
  if (needed > free) {
    throw new LimitError({
      what: 'the disk has no room for the output',
      where: store.name,
      value: `${needed} bytes`,
      limit: `${free} bytes free`,
      next: 'free space or write elsewhere',
    });
  }
}

async function createFile(store: Store, name: string, file: Plan['layout']['files'][number]): Promise<ByteSink> {
  const sink = await store.create(name, file.size);
  for (const { offset, bytes } of file.known) await sink.write(bytes, offset);
  if (file.copy) {
    const step = 4 * 2 ** 20;
    for (let at = 0; at < file.copy.size; at += step) {
      const part = new Uint8Array(Math.min(step, file.copy.size - at));
      await file.copy.readInto(part, at);
      await sink.write(part, at);
    }
  }
  return sink;
}

function taskOf(
  plan: Plan,
  tensor: PlacedTensor,
  sinks: readonly ByteSink[],
  rows: readonly [number, number],
  survey: readonly [number, number] | undefined,
): TileTask {
  const fields: Record<string, TileField> = {};
  for (const [key, { file, ...place }] of Object.entries(tensor.fields)) fields[key] = { handle: sinks[file]!.handle, ...place };
  const importance = plan.importance.get(tensor.source);
  return {
    name: tensor.source,
    container: plan.container,
    from: tileSource(tensor.from, rows),
    scheme: tensor.scheme,
    ...(tensor.tile && { tile: tensor.tile }),
    fields,
    rows,
    ...(importance && tensor.scheme.kind === 'storage' && { importance }),
    ...(survey && { survey }),
    steps: 'both',
  };
}

/**
 * A tile that an earlier run finished: its bytes are read back and must give the errors of the journal; else it is done again.
 */
async function recheck(
  task: TileTask,
  before: TileErrors | null,
  verify: 'full' | 'none',
  workers: TileWorkers,
): Promise<TileResult | undefined> {
  if (verify === 'none') return {};
  const { errors } = await workers.tile({ ...task, steps: 'check' });
  const same = JSON.stringify(errors ?? null) === JSON.stringify(before);
  return same && errors ? { errors } : undefined;
}

function* jobs<T>(
  tensors: readonly PlacedTensor[],
  one: (index: number, rows: readonly [number, number]) => T,
): Generator<() => T> {
  for (const [index, tensor] of tensors.entries()) for (const rows of tilesOf(tensor)) yield () => one(index, rows);
}

/** Runs jobs in order, at most `width` at a time; the first failure stops the rest and waits for those under way. */
async function inOrder(work: Iterable<() => Promise<void>>, width: number, signal?: AbortSignal): Promise<void> {
  const running = new Set<Promise<void>>();
  let failure: { error: unknown } | undefined;
  for (const job of work) {
    if (failure || signal?.aborted) break;
    const started = job().catch((error: unknown) => {
      failure ??= { error };
    });
    running.add(started);
    started.finally(() => running.delete(started));
    if (running.size >= width) await Promise.race(running);
  }
  await Promise.all(running);
  if (failure) throw failure.error;
  signal?.throwIfAborted();
}
