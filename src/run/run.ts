/**
 * Executes a plan: tiles are encoded by workers and written at their planned places into an unfinished folder beside the output;
 * a journal remembers finished tiles; when all are done and checked, the output gets its name in one rename.
 *
 *   OUT.unfinished/lock              the process that works on it
 *   OUT.unfinished/journal.jsonl     what is done
 *   OUT.unfinished/files/...         the output being written
 *   OUT.unfinished/publishing        the output is getting its name
 *   OUT.unfinished/activations, original   hidden states that do not fit into memory
 *   OUT.unfinished/rewritten.safetensors   the model as transforms leave it
 *   OUT.unfinished/gathered.safetensors    statistics that one walk took for transforms and what follows them
 */

import { peakMemory } from '#run/spawn';
import { FileError, LimitError, ModelError } from '../errors.ts';
import { contentSample, sha256 } from '../format/fingerprint.ts';
import type { ByteSink, Store } from '../io/types.ts';
import type { PlanNode } from '../recipe/nodes.ts';
import type { Plan } from '../recipe/plan.ts';
import { CalibratedSteps } from './calibration/steps.ts';
import type { CalibrationWindows } from './calibration/windows.ts';
import { checkOutput } from './check-output.ts';
import { type Journal, openJournal, type RunParts } from './journal.ts';
import { takeLock } from './lock.ts';
import { Progress, type ProgressEvent } from './progress.ts';
import { placeOf, publish, type RunPlace, refuseExisting, takeBack } from './publish.ts';
import { chooseRanges } from './ranges/choose.ts';
import type { RangeRecord } from './ranges/search.ts';
import { buildReport, type Report } from './report.ts';
import { rewriteModel } from './rewrite/rewrite.ts';
import { idsHash } from './statistics/provenance.ts';
import { surveyTensor } from './survey.ts';
import { TensorWriter } from './tensor-writer.ts';
import { workOf } from './work.ts';
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
  /** Where the plan collects activations. */
  calibration?: CalibrationWindows;
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
  const { calibration } = options;
  const { source, statistics, ...planned } = plan.keyParts;
  const parts: RunParts = {
    ...planned,
    source: source + (await contentSample(plan.model.checkpoint)),
    statistics: statistics + ((await plan.statistics?.fingerprint()) ?? ''),
    text: calibration ? await idsHash(calibration.ids) : '',
  };
  const place = placeOf(plan, store, await sha256(plan.key + JSON.stringify(parts)));
  const { folder } = place;
  const begun = (await store.stat(folder)) !== undefined;
  if (!begun) await refuseExisting(place, options.force ?? false);
  const unlock = await takeLock(store, `${folder}/lock`);
  let stays = begun;
  let solvedSome = false;
  try {
    await takeBack(place);
    await refuseExisting(place, options.force ?? false);
    await checkSpace(place);
    const journal = await openJournal(store, folder, place.key, options.restart ?? false, parts);
    stays = false;
    const add = journal.add.bind(journal);
    journal.add = async (entry) => {
      solvedSome ||= 'linears' in entry || 'ranges' in entry;
      await add(entry);
    };
    return await execute(place, journal, options);
  } catch (error) {
    // What the same command can continue stays: an interrupted run, one that the machine had no memory for, and hours of solving
    // that a full disk or the runtime ended. Nothing else does.
    const machine = error instanceof FileError || error instanceof ModelError;
    stays ||= options.signal?.aborted === true || error instanceof LimitError || (machine && solvedSome);
    throw error;
  } finally {
    await unlock();
    if (!stays) await store.remove(folder);
  }
}

async function execute(place: RunPlace, journal: Journal, options: RunOptions): Promise<Report> {
  const started = performance.now();
  const { store, files } = place;
  const verify = options.verify ?? 'full';
  const { signal } = options;
  const progress = new Progress(place.plan.layout.tensors, options.onProgress, workOf(place.plan));
  const {
    plan,
    records,
    close: closeInputs,
  } = await rewriteModel(place, { ...options, say: (what) => progress.begin('transform', what) });
  const { layout } = plan;
  const sinks: ByteSink[] = [];
  const ranges: RangeRecord[] = [];
  const workers = await tileWorkers(options.threads ?? 1);
  const writer = new TensorWriter({ plan, sinks, workers, journal, verify, progress });
  const calibrated = new CalibratedSteps({
    place: { ...place, plan },
    workers,
    journal,
    writer,
    progress,
    ...(options.calibration && { calibration: options.calibration }),
    ...(signal && { signal }),
  });
  try {
    for (const file of layout.files) sinks.push(await createFile(store, `${files}/${file.name}`, file));
    for (const step of steps(plan.nodes)) {
      signal?.throwIfAborted();
      if (step.kind === 'ranges') {
        ranges.push(...(await rangesOf(step, { plan, journal, progress }, options)));
        for (const { tensor, factor } of ranges) writer.chooseFactor(tensor, factor);
      } else if (step.kind === 'survey') {
        const { tensor } = step;
        writer.surveys.set(tensor, await surveyTensor(writer.tensor(tensor), workers, writer.inputs.get(tensor)));
      } else if (step.kind === 'writes') await writer.write(step.tensors, signal);
      else await calibrated.perform(step);
    }
    writer.checkComplete();
    for (const sink of sinks) await sink.flush();
    if (verify !== 'none') await checkOutput(plan, store, files);
    const report = buildReport(plan, {
      output: `${store.name}/${plan.output.name}`,
      seconds: (performance.now() - started) / 1000,
      peakMemory: peakMemory(),
      verified: verify !== 'none',
      resumed: writer.resumed,
      errors: writer.errors,
      calibrationWarnings: options.calibration?.warnings ?? [],
      ...(await calibrated.facts()),
      ...(records.length > 0 && { transforms: records }),
      ...(ranges.length > 0 && { ranges }),
    });
    await calibrated.close();
    await closeInputs();
    await closeAll(sinks, workers);
    await publish(place, report);
    return report;
  } finally {
    await calibrated.close();
    await closeInputs();
    await closeAll(sinks, workers);
  }
}

/** What an earlier run chose stays: its tiles may be written. */
async function rangesOf(
  { id }: Extract<PlanNode, { kind: 'ranges' }>,
  { plan, journal, progress }: { plan: Plan; journal: Journal; progress: Progress },
  { calibration, signal }: RunOptions,
): Promise<readonly RangeRecord[]> {
  if (journal.ranges.length > 0) {
    progress.skip(id);
    return journal.ranges;
  }
  progress.begin(id, 'ranges by the loss of the model');
  const found = await chooseRanges(plan, {
    ...(calibration && { calibration }),
    ...(signal && { signal }),
    onTensor: (done) => progress.part(done),
  });
  await journal.add({ ranges: found });
  progress.end();
  return found;
}

type Step = Exclude<PlanNode, { kind: 'write' }> | { kind: 'writes'; tensors: number[] };

/** Writes that follow each other go to the workers together. */
function steps(nodes: readonly PlanNode[]): Step[] {
  const found: Step[] = [];
  for (const node of nodes) {
    const last = found.at(-1);
    if (node.kind !== 'write') found.push(node);
    else if (last?.kind === 'writes') last.tensors.push(node.tensor);
    else found.push({ kind: 'writes', tensors: [node.tensor] });
  }
  return found;
}

/** Files that are open cannot be renamed or removed everywhere: nobody holds one when the output gets its name. */
async function closeAll(sinks: ByteSink[], workers: TileWorkers): Promise<void> {
  await workers.close();
  for (const sink of sinks.splice(0)) await sink.close();
}

/** Room for what is still to be written: the output, and hidden states that memory does not hold. */
async function checkSpace({ plan, store, files }: RunPlace): Promise<void> {
  const free = await store.free();
  if (free === undefined) return;
  let reserved = 0;
  for (const file of plan.layout.files) reserved += (await store.stat(`${files}/${file.name}`))?.size ?? 0;
  const needed = plan.layout.files.reduce((sum, file) => sum + file.size, 0) - reserved + plan.spillBytes;
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
