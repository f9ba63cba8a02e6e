import { Command } from 'commander';
import { containerNamed, plan } from '../recipe/index.ts';
import { type Conversion, convertRecipe } from '../run/index.ts';
import { importanceOf, openModel, placeOf } from './models.ts';
import { size, threadsOf, withCommon } from './options.ts';
import { runWithProgress } from './quantize.ts';
import { bytesText, type Common, ProgressLine, printResult } from './terminal.ts';

interface ConvertFlags extends Common {
  output: string;
  to?: string;
  type?: string;
  requantize?: boolean;
  force?: boolean;
  restart?: boolean;
  maxShardSize?: number;
}

export function convertCommand(): Command {
  return withCommon(new Command('convert'))
    .description('the same model in another container; refuses to lose anything unless told to')
    .argument('<in>')
    .requiredOption('-o, --output <out>', 'the file or folder to write')
    .option('--to <container>', 'gguf, safetensors or fewbits (default: by the extension of OUT)')
    .option('--type <name>', 'f32, f16 or bf16 for the matrices (default: as they are)')
    .option('--requantize', 'allow what loses precision')
    .option('--force', 'replace an output that exists')
    .option('--restart', 'throw an unfinished output away')
    .option('--max-shard-size <size>', 'split the output into files of at most this size', size)
    .action(async (input: string, flags: ConvertFlags) => {
      const model = await openModel(input);
      try {
        const { name } = placeOf(flags.output);
        const to = containerNamed(flags.to ?? (name.endsWith('.gguf') ? 'gguf' : 'safetensors'));
        const conversion: Conversion = convertRecipe(model, to, {
          ...(flags.type !== undefined && { type: flags.type }),
          requantize: flags.requantize ?? false,
        });
        const planned = await plan(model, conversion.recipe, {
          output: name,
          threads: threadsOf(flags),
          requantize: flags.requantize ?? false,
          importance: await importanceOf(undefined, model),
          ...(flags.maxShardSize !== undefined && { maxShardSize: flags.maxShardSize }),
        });
        const report = await runWithProgress(planned, flags);
        // Integers have no error: they are only copied.
        const lossless = report.tensors.every(({ maxError = 0 }) => maxError === 0);
        new ProgressLine(flags).clear();
        printResult(
          flags,
          { output: flags.output, lossless, bytes: report.bytes, tensors: report.tensors, warnings: report.warnings },
          () => `${flags.output}: ${bytesText(report.bytes)}, ${lossless ? 'lossless' : 'values changed by the change of type'}`,
        );
      } finally {
        await model.close();
      }
    });
}
