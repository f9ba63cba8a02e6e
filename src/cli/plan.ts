import { basename } from 'node:path';
import { Command } from 'commander';
import { RecipeError } from '../errors.ts';
import type { Model } from '../format/index.ts';
import {
  type Budget,
  type Fitted,
  type Plan,
  type PlannedTensor,
  type PlanOptions,
  plan,
  recipeFromOptions,
  weightType,
} from '../recipe/index.ts';
import { searchedSamples } from '../recipe/memory.ts';
import { fittedRecipe } from './fit.ts';
import { calibrationTextName, defaultContext, importanceOf, openModel, statisticsOf } from './models.ts';
import { type QuantizationFlags, quantizeOptions, threadsOf, withCommon, withQuantization } from './options.ts';
import { bytesText, printResult, small, table } from './terminal.ts';
import { groupWarnings } from './warnings.ts';

export interface PlanFlags extends QuantizationFlags {
  output?: string;
  printRecipe?: boolean;
  context?: number;
}

export function planCommand(): Command {
  return withQuantization(withCommon(new Command('plan')))
    .description('what a run would write: scheme and bytes of each tensor, size, memory, fallbacks; nothing is written')
    .argument('<model>')
    .option('-o, --output <out>', 'name of the output: its extension chooses the container')
    .action(async (name: string, flags: PlanFlags) => {
      const model = await openModel(name);
      try {
        const { planned, fitted } = await planFor(name, model, flags);
        await releasePlan(planned);
        if (flags.printRecipe) process.stdout.write(`${JSON.stringify(planned.recipe, null, 2)}\n`);
        else {
          const document = { ...planDocument(planned), ...(fitted && { fit: fitDocument(fitted) }) };
          printResult(flags, document, () =>
            [planText(planned, flags), ...(fitted ? [fitText(fitted, flags.fit!)] : [])].join('\n'),
          );
        }
      } finally {
        await model.close();
      }
    });
}

export interface Planned {
  planned: Plan;
  /** Of `--fit`. */
  fitted?: Fitted;
}

/** Options and model to a plan. The statistics that it reads stay open: `releasePlan`. */
export async function planFor(name: string, model: Model, flags: PlanFlags): Promise<Planned> {
  const output = flags.output === undefined ? '' : basename(flags.output.replace(/[\\/]+$/, ''));
  const subject = model.checkpoint.kind === 'safetensors' ? 'bag' : 'model';
  const recipe = recipeFromOptions(quantizeOptions(flags), subject, output, weightType(model));
  const statistics = await statisticsOf(flags.stats, model);
  const options: PlanOptions = {
    ...(output !== '' && { output }),
    ...(statistics && { statistics, importance: await importanceOf(statistics, model) }),
    calibrationContext: defaultContext(name, model),
    threads: threadsOf(flags),
    requantize: flags.requantize ?? false,
    ...(flags.maxShardSize !== undefined && { maxShardSize: flags.maxShardSize }),
    ...(flags.context !== undefined && { context: flags.context }),
  };
  if (flags.sensitivities !== undefined && !flags.fit)
    throw new RecipeError({ what: 'this belongs to a budget', where: '--sensitivities', next: 'add --fit SIZE' });
  if (flags.fit) {
    const fitted = await fittedRecipe({ name, model, base: recipe, ...(statistics && { statistics }) }, flags, options);
    return { planned: fitted.plan, fitted };
  }
  const planned = await plan(model, recipe, options);
  if (!planned.calibration) refuseCalibrationFlags(planned, flags);
  return { planned };
}

function fitDocument({ loss, bound, unit, whole, groups }: Fitted): object {
  return { [unit === 'kl' ? 'predictedKl' : 'relativeError']: loss, bound, whole, groups };
}

/** What the budget was spent on, and what that is expected to cost. */
export function fitText({ loss, unit, whole, plan: { bytes, bitsPerWeight } }: Fitted, budget: Budget): string {
  const used =
    'bytes' in budget
      ? `${bytes} of ${budget.bytes} bytes`
      : `${bitsPerWeight.toFixed(4)} of ${budget.bitsPerWeight} bits per weight`;
  const cost =
    unit === 'kl'
      ? `predicted KL ${small(loss)}`
      : `relative errors of outputs that add up to ${small(loss)} (the model cannot be run: no KL is predicted)`;
  return `budget: ${used}, ${cost}${whole ? '; the best choice of every tensor fits' : ''}`;
}

/** An option that changes nothing is a mistake of whoever gives it. */
function refuseCalibrationFlags({ recipe }: Plan, flags: PlanFlags): void {
  const names = {
    calibration: '--calibration',
    text: '--text',
    samples: '--samples',
    seed: '--seed',
    chatTemplate: '--chat-template',
  };
  const given = Object.entries(names).find(([key]) => flags[key as keyof typeof names] !== undefined);
  if (!given) return;
  throw new RecipeError({
    what: flags.stats
      ? 'the statistics come from a file, so that no text is read'
      : 'nothing here looks at activations, so that no text is read',
    where: given[1],
    next: flags.stats
      ? 'leave the option or --stats out'
      : recipe.rounding
        ? 'leave it out, or choose a type that GPTQ can round'
        : 'add --method gptq, or --range imatrix or output-mse on an integer grid, or --activation-observer; fewbits calibrate makes statistics for others',
  });
}

export async function releasePlan({ statistics }: Plan): Promise<void> {
  await statistics?.close();
}

function planDocument(planned: Plan): object {
  const { container, bytes, bitsPerWeight, parameters, peakMemory, load, runtimes, convention, tensors, warnings } = planned;
  const { calibration, nodes, spillBytes } = planned;
  return {
    container,
    bytes,
    bitsPerWeight,
    parameters,
    peakMemory,
    ...(spillBytes > 0 && { spillBytes }),
    load,
    runtimes,
    convention,
    ...(calibration && { calibration }),
    nodes: nodes.map(({ id, kind, after }) => ({ id, kind, after })),
    tensors,
    warnings,
  };
}

function planText(planned: Plan, flags: PlanFlags): string {
  const { bytes, bitsPerWeight, load, container, peakMemory, spillBytes, runtimes, convention } = planned;
  const cache = load.kvCache ? `, key/value cache ${bytesText(load.kvCache.bytes)} at ${load.kvCache.context} tokens (f16)` : '';
  return [
    table(
      ['tensor', 'scheme', 'shape', 'bytes'],
      planned.tensors.map((t) => [t.name, roundedScheme(t), t.shape.join(' x '), t.bytes]),
      [3],
    ),
    '',
    `${container}: ${bytesText(bytes)} (${bytes} bytes), ${bitsPerWeight.toFixed(3)} bits per weight`,
    `at load: weights ${bytesText(load.weights)}${cache}`,
    ...roundingText(planned, flags),
    ...(planned.calibration ? [calibrationLines(planned)] : []),
    `this run: at most ${bytesText(peakMemory)} of memory${spillBytes ? `, ${bytesText(spillBytes)} of disk beside the output` : ''}`,
    `loads in: ${runtimes.join(', ')}`,
    `convention: ${convention}`,
    ...groupWarnings(planned).map((warning) => `warning: ${warning}`),
  ].join('\n');
}

/** 'q4_k', or 'q4_k gptq' where codes are not the nearest ones. */
export function roundedScheme({ scheme, feedback }: Pick<PlannedTensor, 'scheme' | 'feedback'>): string {
  return feedback === undefined ? scheme : `${scheme} ${feedback}`;
}

/** How codes are chosen with feedback, and from what. */
function roundingText({ layout, calibration, statistics }: Plan, flags: PlanFlags): string[] {
  const roundings = layout.tensors.flatMap(({ scheme }) => (scheme.kind !== 'keep' && scheme.rounding ? [scheme.rounding] : []));
  if (roundings.length === 0) return [];
  const each = (value: (rounding: (typeof roundings)[number]) => number) => [...new Set(roundings.map(value))].join(' or ');
  const from = calibration
    ? `calibrated on ${calibrationTextName(flags.text)}`
    : `statistics from ${statistics?.name ?? 'a file'}`;
  return [
    `rounding: GPTQ of ${roundings.length} tensors, damp ${each(({ damp }) => damp)}, ${each(({ refine }) => refine)} rounds of refinement, ${from}`,
  ];
}

function calibrationLines({ calibration, nodes, model, gathered, recipe }: Plan): string {
  const { order, samples, context, tokens, layers, correct } = calibration!;
  const count = (kind: string) => nodes.filter((node) => node.kind === kind).length;
  const corrected = correct && order !== 'parallel' ? ', weights make up for what quantized layers before them changed' : '';
  const searched = nodes.flatMap((node) => (node.kind === 'ranges' ? node.tensors : [])).length;
  const trials = model.spec ? searchedSamples(model.spec, calibration!) : 0;
  const before = recipe.transforms?.map(({ kind }) => kind).join(', ');
  return [
    `calibration: ${order}, ${samples} windows of ${context} tokens (${tokens}) through ${layers} layers${corrected}`,
    `steps: ${count('capture')} passes collect inputs of linears, ${count('solve')} inputs are solved for, ${count('write')} tensors are written, activations pass ${count('propagate')} layers`,
    ...(before
      ? [
          gathered
            ? `before them one walk collects what ${before} and the rounding look at, and a rewritten model is written`
            : `before them ${before} ${recipe.transforms!.length > 1 ? 'walk' : 'walks'} through the model where inputs are looked at, and a rewritten model is written`,
        ]
      : []),
    ...(searched
      ? [`ranges: of ${searched} tensors by the loss of the model on ${trials} windows, one tensor after another`]
      : []),
  ].join('\n');
}
