/** `--fit`: measures what types cost, or reads it from a file, and chooses the types within the budget. */
import { existsSync, readFileSync } from 'node:fs';
import { FileError, RecipeError } from '../errors.ts';
import type { Model } from '../format/index.ts';
import type { StatisticsReader } from '../quantize/statistics.ts';
import {
  type Fitted,
  fitTo,
  type PlanOptions,
  parseSensitivities,
  priceList,
  type Recipe,
  type Sensitivities,
} from '../recipe/index.ts';
import {
  chatTemplateOf,
  checkSensitivities,
  measureSensitivities,
  sensitivityWarnings,
  sensitivityWindows,
} from '../run/index.ts';
import { calibrationTextFrom, defaultContext, isMeasurable } from './models.ts';
import { type QuantizationFlags, threadsOf } from './options.ts';
import { writeOutput } from './output.ts';
import { type Common, interruptSignal, ProgressLine } from './terminal.ts';

export interface FitRequest {
  name: string;
  model: Model;
  /** What the budget does not decide. */
  base: Recipe;
  statistics?: StatisticsReader;
  /** Bytes of this machine's memory. */
  memory?: number;
}

type FitFlags = Common & Pick<QuantizationFlags, 'sensitivities' | 'text' | 'context' | 'samples' | 'seed' | 'chatTemplate'>;

export async function fittedRecipe(request: FitRequest, flags: QuantizationFlags, options: PlanOptions): Promise<Fitted> {
  const sensitivities = await sensitivitiesFor(request, flags, options.importance);
  const fitted = await fitTo(await priceList(request.model, request.base, sensitivities, options), flags.fit!);
  const warnings = [...fitted.plan.warnings, ...blindness(request, sensitivities), ...sensitivityWarnings(sensitivities)];
  return { ...fitted, plan: { ...fitted.plan, warnings } };
}

/** What is said where KL could be measured on a larger machine. */
function blindness({ model }: FitRequest, { unit }: Sensitivities): string[] {
  if (unit === 'kl' || !model.spec) return [];
  return ['the model is too large to be run here: its types are chosen by relative errors of outputs'];
}

/** From the file of `--sensitivities` where it is there; else measured, and written to it where one is named. */
export async function sensitivitiesFor(
  { name, model, base, statistics, memory }: FitRequest,
  flags: FitFlags,
  importance?: ReadonlyMap<string, Float32Array>,
): Promise<Sensitivities> {
  const file = flags.sensitivities;
  if (file !== undefined && existsSync(file)) {
    const known = parsed(file);
    await checkSensitivities(known, model, base, file);
    return known;
  }
  const progress = new ProgressLine(flags);
  try {
    const measured = await measureSensitivities(model, base, {
      ...(isMeasurable(model, memory) && { windows: await windowsFor(name, model, flags) }),
      ...(statistics && { statistics }),
      ...(importance && { importance }),
      threads: threadsOf(flags),
      signal: interruptSignal(),
      onProgress: (text) => progress.update(text),
    });
    if (file !== undefined) await writeOutput(file, `${JSON.stringify(measured, null, 1)}\n`);
    return measured;
  } finally {
    progress.clear();
  }
}

async function windowsFor(name: string, model: Model, flags: FitFlags) {
  const { text } = calibrationTextFrom(flags.text);
  return sensitivityWindows(model.spec!, await model.tokenizer(), text, {
    context: flags.context ?? defaultContext(name, model),
    ...(flags.samples !== undefined && { samples: flags.samples }),
    ...(flags.seed !== undefined && { seed: flags.seed }),
    ...(flags.chatTemplate && { chatTemplate: await chatTemplateOf(model) }),
  });
}

/** @throws RecipeError where the file is not what `--sensitivities` wrote */
function parsed(file: string): Sensitivities {
  let document: unknown;
  try {
    document = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) throw new RecipeError({ what: 'not JSON', where: file });
    throw new FileError({ what: 'cannot read the file', where: file, next: 'check the path' });
  }
  return parseSensitivities(document, file);
}
