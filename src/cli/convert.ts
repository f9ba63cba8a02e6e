import { Command } from 'commander';
import { byExtension, containerNamed, plan } from '../recipe/index.ts';
import { convertRecipe } from '../run/index.ts';
import { openModel, placeOf, refuseWithoutVocabulary } from './models.ts';
import { size, threadsOf, withCommon } from './options.ts';
import { runWithProgress } from './quantize.ts';
import { bytesText, type Common, printResult, small } from './terminal.ts';

interface ConvertFlags extends Common {
  output: string;
  to?: string;
  type?: string;
  requantize?: boolean;
  vocabulary: boolean;
  force?: boolean;
  restart?: boolean;
  maxShardSize?: number;
}

export function convertCommand(): Command {
  return withCommon(new Command('convert'))
    .description('the same model in another container; refuses to lose anything unless told to')
    .argument('<in>')
    .requiredOption('-o, --output <out>', 'the file or folder to write')
    .option('--to <container>', 'gguf, safetensors, gptq, compressed-tensors or fewbits (default: by the extension of OUT)')
    .option('--type <name>', 'f32, f16 or bf16 for the matrices (default: as they are)')
    .option('--requantize', 'allow what loses precision')
    .option('--no-vocabulary', 'write GGUF also of a model that has no tokenizer')
    .option('--force', 'replace an output that exists')
    .option('--restart', 'throw an unfinished output away')
    .option('--max-shard-size <size>', 'split the output into files of at most this size', size)
    .action(async (input: string, flags: ConvertFlags) => {
      const model = await openModel(input);
      try {
        const { name } = placeOf(flags.output);
        const named = byExtension(name);
        // A file called .safetensors is a plain one here: convert quantizes nothing.
        const to = containerNamed(flags.to ?? (named === 'gguf' ? named : 'safetensors'));
        const recipe = convertRecipe(model, to, {
          ...(flags.type !== undefined && { type: flags.type }),
          requantize: flags.requantize ?? false,
        });
        const planned = await plan(model, recipe, {
          output: name,
          threads: threadsOf(flags),
          requantize: flags.requantize ?? false,
          ...(flags.maxShardSize !== undefined && { maxShardSize: flags.maxShardSize }),
        });
        refuseWithoutVocabulary(planned, flags.vocabulary);
        const report = await runWithProgress(planned, flags);
        // Integers have no error: they are only copied.
        const lossy = report.tensors.filter(({ maxError = 0 }) => maxError > 0);
        const lossless = lossy.length === 0;
        const most = Math.max(0, ...lossy.map(({ maxError = 0 }) => maxError));
        const changed = lossless ? [] : [`${lossy.length} tensors changed by their new type, by at most ${small(most)}`];
        printResult(
          flags,
          {
            output: flags.output,
            lossless,
            bytes: report.bytes,
            tensors: report.tensors,
            warnings: [...report.warnings, ...changed],
          },
          () => `${flags.output}: ${bytesText(report.bytes)}, ${changed[0] ?? 'lossless'}`,
        );
      } finally {
        await model.close();
      }
    });
}
