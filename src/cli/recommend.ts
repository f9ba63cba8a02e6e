import { basename } from 'node:path';
import { Command } from 'commander';
import { readText } from '../evaluate/index.ts';
import { type ContainerName, containers, type Model } from '../format/index.ts';
import { type Recommendation, type Recommendations, recommend, runtimes } from '../run/index.ts';
import { sensitivitiesFor } from './fit.ts';
import { defaultContext, evaluationText, isMeasurable, openModel } from './models.ts';
import { integer, number, size, threadsOf, withCommon } from './options.ts';
import { bytesText, type Common, interruptSignal, ProgressLine, printResult, shellWord, small, table } from './terminal.ts';

interface RecommendFlags extends Common {
  memory: number;
  runtime: string;
  context?: number;
  text?: string;
  sensitivities?: string;
  evaluate?: string;
  maxKl?: number;
}

/** Tokens on which the recipes are measured. */
const EVIDENCE_TOKENS = 8192;
/** Tokens of key/value cache where nobody says how many. */
const CACHE_TOKENS = 8192;

export function recommendCommand(): Command {
  return withCommon(new Command('recommend'))
    .description('three recipes that fit a memory and a runtime, with measured evidence and the command lines')
    .argument('<model>')
    .requiredOption('--memory <size>', 'what weights and key/value cache may take: 8GB', size)
    .requiredOption('--runtime <name>', Object.keys(runtimes).join(', '))
    .option('--context <n>', "tokens in the key/value cache (8192, or the model's limit)", integer(1))
    .option('--text <file>', 'calibration text (default: the built-in one)')
    .option('--sensitivities <file>', 'what each type costs: read from it, or measured and written to it')
    .option('--evaluate <file>', 'the text that KL is measured on (default: the built-in one)')
    .option('--max-kl <x>', 'mean KL that is still acceptable (0.1)', number(0))
    .action(async (name: string, flags: RecommendFlags) => {
      const model = await openModel(name);
      // --context is that of the cache, not of the calibration.
      const { context: _, ...measuring } = flags;
      const progress = new ProgressLine(flags);
      try {
        const context = flags.context ?? Math.min(CACHE_TOKENS, model.spec?.context ?? CACHE_TOKENS);
        const result = await recommend(model, {
          ...{ memory: flags.memory, runtime: flags.runtime, context },
          ...(flags.maxKl !== undefined && { maxKl: flags.maxKl }),
          ...(await evidenceFor(name, model, flags)),
          sensitivities: (base) => sensitivitiesFor({ name, model, base }, measuring),
          threads: threadsOf(flags),
          signal: interruptSignal(),
          onProgress: (text) => progress.update(text),
        });
        progress.clear();
        printResult(flags, documentOf(name, flags, context, result), () => textOf(name, flags, context, result));
      } finally {
        progress.clear();
        await model.close();
      }
    });
}

/** Nothing where the model is too large to be run on this machine. */
async function evidenceFor(name: string, model: Model, flags: RecommendFlags) {
  if (!model.spec || !isMeasurable(model)) return {};
  const tokenizer = await model.tokenizer();
  const window = defaultContext(name, model);
  const { context, batches } = readText(model.spec, tokenizer, evaluationText(flags.evaluate), {
    protocol: 'strided',
    context: window,
  });
  const all = batches.flatMap(({ windows }) => windows.map(({ ids }) => ids));
  const taken = all.slice(0, Math.max(1, Math.floor(EVIDENCE_TOKENS / context)));
  const ids = new Int32Array(taken.length * context);
  for (const [i, one] of taken.entries()) ids.set(one, i * context);
  return { evidence: { ids, window: context } };
}

/** The command that writes a recommendation: what it was measured with has to be said again. */
export function commandOf(
  name: string,
  { text, sensitivities }: Pick<RecommendFlags, 'text' | 'sensitivities'>,
  container: ContainerName,
  { label, budget }: { label: string; budget: number },
): string {
  const stem = basename(name.replace(/[\\/]+$/, '')).replace(/\.(gguf|safetensors)$/i, '');
  const extension = containers[container].output === 'file' ? containers[container].extensions[0] : '';
  const known = Object.entries({ '--sensitivities': sensitivities, '--text': text });
  return [
    ...['fewbits', 'quantize', name, '-o', `${stem}-${label}${extension}`, '--to', container, '--fit', `${budget}`],
    ...known.flatMap(([option, value]) => (value === undefined ? [] : [option, value])),
  ]
    .map(shellWord)
    .join(' ');
}

function documentOf(name: string, flags: RecommendFlags, context: number, result: Recommendations): object {
  const blind = result.recipes.some(({ unit }) => unit === 'error');
  return {
    ...{ memory: flags.memory, runtime: flags.runtime, context },
    recipes: result.recipes.map((one) => ({
      label: one.label,
      recipe: one.recipe,
      bytes: one.plan.bytes,
      bitsPerWeight: one.plan.bitsPerWeight,
      memory: one.memory,
      kl: one.measured?.kl ?? (blind ? null : one.loss),
      evidence: one.measured ? 'measured' : 'predicted',
      ...(one.measured && { measured: one.measured }),
      ...(one.unit === 'kl' ? { predictedKl: one.loss } : { relativeError: one.loss }),
      command: commandOf(name, flags, result.runtime.container, one),
    })),
    warnings: result.warnings,
  };
}

function textOf(name: string, flags: RecommendFlags, context: number, result: Recommendations): string {
  const { recipes, runtime, warnings } = result;
  const measured = recipes[0]?.measured;
  const kl = ({ measured: found, loss, unit }: Recommendation) =>
    found ? `${small(found.kl)} ± ${small(found.error)}` : unit === 'kl' ? `${small(loss)} (predicted)` : '?';
  return [
    `${flags.runtime} (${runtime.container}) within ${bytesText(flags.memory)}, key/value cache of ${context} tokens counted; activations and the runtime itself come on top`,
    '',
    table(
      ['', 'file', 'bits/weight', 'at load with cache', 'KL', 'predicted', 'same top'],
      recipes.map((one) => [
        one.label,
        bytesText(one.plan.bytes),
        one.plan.bitsPerWeight.toFixed(3),
        bytesText(one.memory.total),
        kl(one),
        one.unit === 'kl' ? small(one.loss) : '',
        one.measured ? `${(100 * one.measured.sameTop).toFixed(2)} %` : '',
      ]),
      [1, 2, 3, 4, 5, 6],
    ),
    '',
    measured
      ? `KL: measured on this model, ${measured.tokens} positions of ${flags.evaluate ?? 'the built-in text'}; predicted: the sum over tensors from ${flags.text ?? 'the calibration text'}`
      : 'KL: not measured, because the model is too large to be run here',
    ...warnings.map((warning) => `warning: ${warning}`),
    '',
    ...recipes.map((one) => commandOf(name, flags, result.runtime.container, one)),
  ].join('\n');
}
