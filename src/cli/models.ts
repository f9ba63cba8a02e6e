import { totalmem } from 'node:os';
import { basename, dirname, resolve } from 'node:path';
import { calibrationText, defaultModel, defaultText } from '#run/embedded';
import { ModelError } from '../errors.ts';
import { type Model, open } from '../format/index.ts';
import { diskStore, type Store } from '../io/index.ts';
import type { StatisticsReader } from '../quantize/statistics.ts';
import { type Plan, parameters } from '../recipe/index.ts';
import {
  type CalibrationWindows,
  calibrationWindows,
  chatTemplateOf,
  importanceFrom,
  isStatistics,
  openStatistics,
  utf8Text,
} from '../run/index.ts';
import { readBytes, readText } from './options.ts';

/** Opens MODEL; `default` is the embedded model. @throws ModelError for a file of statistics: its matrices are no weights */
export async function openModel(name: string): Promise<Model> {
  if (name === 'default') return open(defaultModel);
  if (await isStatistics(name)) {
    throw new ModelError({
      what: 'this file holds statistics and no model',
      where: name,
      next: 'give a model, and this file with --stats; fewbits inspect shows what it holds',
    });
  }
  return open(name);
}

/** Context of a text evaluation: 256 for the default model, else 2048 or the model's limit. */
export function defaultContext(name: string, model: Model): number {
  return name === 'default' ? 256 : Math.min(2048, model.spec?.context ?? 2048);
}

/** Share of this machine's memory that the weights may take as f32, twice: the changed ones are kept apart. */
const MEMORY_SHARE = 0.35;

/** Whether KL can be measured here: the weights are held as f32 beside changed ones. memory: bytes of this machine. */
export function isMeasurable(model: Model, memory = totalmem()): boolean {
  return model.spec !== undefined && 4 * parameters(model) <= MEMORY_SHARE * memory;
}

/** The text to evaluate on; without a file the built-in one. */
export function evaluationText(file?: string): string {
  return readText(file ?? defaultText);
}

/** The text to calibrate on; without a file the built-in one. */
export function calibrationTextFrom(file?: string): { text: string; dataset: string } {
  const path = file ?? calibrationText;
  return { text: utf8Text(readBytes(path), path), dataset: calibrationTextName(file) };
}

export function calibrationTextName(file?: string): string {
  return basename(file ?? calibrationText);
}

/** `--stats`: stays open, because a run reads from it what it needs. */
export async function statisticsOf(file: string | undefined, model: Model): Promise<StatisticsReader | undefined> {
  return file === undefined ? undefined : openStatistics(file, model);
}

export async function importanceOf(statistics: StatisticsReader, model: Model): Promise<ReadonlyMap<string, Float32Array>> {
  return importanceFrom(statistics, model);
}

/** The windows of text that a plan collects activations on; undefined where it needs none. */
export async function windowsOf(
  { model, recipe, calibration }: Plan,
  { text: file }: { text?: string },
): Promise<CalibrationWindows | undefined> {
  if (!calibration) return undefined;
  const { text, dataset } = calibrationTextFrom(file);
  return calibrationWindows(model.spec!, await model.tokenizer(), text, {
    context: calibration.context,
    name: dataset,
    // A number that nobody asked for is cut to what the text holds.
    ...(recipe.calibration?.samples !== undefined && { samples: recipe.calibration.samples }),
    ...(calibration.seed !== undefined && { seed: calibration.seed }),
    ...(calibration.chatTemplate && { chatTemplate: await chatTemplateOf(model) }),
  });
}

/** The folder an output lies in, and its name there. */
export function placeOf(output: string): { store: Store; name: string } {
  const path = resolve(output);
  return { store: diskStore(dirname(path)), name: basename(path) };
}

/** A GGUF file without a vocabulary loads nowhere: whoever wants one says so with --no-vocabulary. */
export function refuseWithoutVocabulary({ container, model }: Plan, vocabulary: boolean): void {
  const { kind, sidecars } = model.checkpoint;
  const has = sidecars.some(({ name }) => name === 'tokenizer.json' || name === 'tokenizer.model');
  if (container !== 'gguf' || kind !== 'huggingface' || has || !vocabulary) return;
  throw new ModelError({
    what: 'no tokenizer.json or tokenizer.model, so the GGUF file would have no vocabulary and llama.cpp would not load it',
    where: model.name,
    next: "put the model's tokenizer beside its weights, or add --no-vocabulary",
  });
}
