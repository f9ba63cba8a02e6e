import { basename } from 'node:path';
import { Command } from 'commander';
import type { Model } from '../format/index.ts';
import { type Plan, plan, recipeFromOptions, weightType } from '../recipe/index.ts';
import { importanceOf, openModel } from './models.ts';
import { integer, type QuantizationFlags, quantizeOptions, threadsOf, withCommon, withQuantization } from './options.ts';
import { bytesText, printResult, table } from './terminal.ts';
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
    .option('--context <n>', "context for the key/value cache figure (default: the model's)", integer(1))
    .action(async (name: string, flags: PlanFlags) => {
      const model = await openModel(name);
      try {
        const planned = await planFor(model, flags);
        if (flags.printRecipe) process.stdout.write(`${JSON.stringify(planned.recipe, null, 2)}\n`);
        else printResult(flags, planDocument(planned), () => planText(planned));
      } finally {
        await model.close();
      }
    });
}

/** Options and model to a plan. */
export async function planFor(model: Model, flags: PlanFlags): Promise<Plan> {
  const output = flags.output === undefined ? '' : basename(flags.output.replace(/[\\/]+$/, ''));
  const subject = model.checkpoint.kind === 'safetensors' ? 'bag' : 'model';
  const recipe = recipeFromOptions(quantizeOptions(flags), subject, output, weightType(model));
  return plan(model, recipe, {
    ...(output !== '' && { output }),
    importance: await importanceOf(flags.stats, model),
    threads: threadsOf(flags),
    requantize: flags.requantize ?? false,
    ...(flags.maxShardSize !== undefined && { maxShardSize: flags.maxShardSize }),
    ...(flags.context !== undefined && { context: flags.context }),
  });
}

function planDocument(planned: Plan): object {
  const { container, bytes, bitsPerWeight, parameters, peakMemory, load, runtimes, convention, tensors, warnings } = planned;
  return { container, bytes, bitsPerWeight, parameters, peakMemory, load, runtimes, convention, tensors, warnings };
}

function planText(planned: Plan): string {
  const { bytes, bitsPerWeight, load, container, peakMemory, runtimes, convention } = planned;
  const cache = load.kvCache ? `, key/value cache ${bytesText(load.kvCache.bytes)} at ${load.kvCache.context} tokens (f16)` : '';
  return [
    table(
      ['tensor', 'scheme', 'shape', 'bytes'],
      planned.tensors.map((t) => [t.name, t.scheme, t.shape.join(' x '), t.bytes]),
      [3],
    ),
    '',
    `${container}: ${bytesText(bytes)} (${bytes} bytes), ${bitsPerWeight.toFixed(3)} bits per weight`,
    `at load: weights ${bytesText(load.weights)}${cache}`,
    `this run: at most ${bytesText(peakMemory)} of memory`,
    `loads in: ${runtimes.join(', ')}`,
    `convention: ${convention}`,
    ...groupWarnings(planned).map((warning) => `warning: ${warning}`),
  ].join('\n');
}
