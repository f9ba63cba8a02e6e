/** `fewbits hardware kv`: bytes of the key/value cache. */
import { Command, Option } from 'commander';
import { RecipeError } from '../../errors.ts';
import { type KvStorage, kvBytesPerToken, kvCacheBytes, kvGrowth } from '../../hardware/index.ts';
import { kvPreset, kvPresets } from '../../quantize/index.ts';
import { integer, number } from '../options.ts';
import { bytesText, printResult, table } from '../terminal.ts';
import { type SubjectFlags, subjectOf, tokensOf, withSubject } from './subject.ts';

interface KvFlags extends SubjectFlags {
  tokens?: number;
  batch: number;
  bits: number;
  group?: number;
  scaleBits: number;
  zeroBits?: number;
  cache?: string;
}

export function kvCommand(): Command {
  return withSubject(new Command('kv'))
    .description('bytes of the key/value cache and how it grows')
    .option('--tokens <n>', "tokens of a sequence (the model's context)", integer(1))
    .option('--batch <n>', 'sequences', integer(1), 1)
    .option('--bits <b>', 'bits of a key or value', number(0.1, 64), 16)
    .option('--group <n>', 'channels of a head that share a scale and a zero (no scales)', integer(1))
    .option('--scale-bits <b>', 'bits of a scale of --group', integer(0, 64), 16)
    .option('--zero-bits <b>', 'bits of a zero of --group (as --scale-bits)', integer(0, 64))
    .addOption(
      new Option('--cache <name>', 'as fewbits generate --kv-bits stores it: the latest tokens at f16').choices(
        Object.keys(kvPresets),
      ),
    )
    .action(async (name: string | undefined, flags: KvFlags) => {
      const subject = await subjectOf(name, flags);
      const { geometry } = subject;
      if (!geometry)
        throw new RecipeError({
          what: 'the shape of the cache is not known',
          next: 'name a model, or say --layers, --kv-heads and --head-dim',
        });
      const tokens = tokensOf(subject, flags.tokens);
      if (tokens === 0) throw new RecipeError({ what: 'the number of tokens is not known', next: 'say --tokens' });
      const { bits, group, scaleBits, zeroBits = scaleBits, batch } = flags;
      const plain: KvStorage = { bits, ...(group !== undefined && { group, scaleBits, zeroBits }) };
      const storage = flags.cache === undefined ? plain : kvPreset(flags.cache, geometry.headDim);
      const shape = { ...geometry, batch };
      const bytes = kvCacheBytes(shape, tokens, storage);
      const document = {
        bytes,
        bytesPerToken: flags.cache === undefined ? kvBytesPerToken(geometry, plain) : Math.ceil(bytes / (tokens * batch)),
        tokens,
        batch,
        growth: kvGrowth(shape, tokens, storage, 8),
        warnings: subject.warnings,
      };
      printResult(flags, document, () =>
        [
          table(
            ['tokens', 'bytes', '', ''],
            document.growth.map((row) => [
              row.tokens,
              row.bytes,
              bytesText(row.bytes),
              `${(row.bytes / 2 ** 30).toFixed(3)} GiB`,
            ]),
            [0, 1, 2, 3],
          ),
          `${document.bytesPerToken} bytes a token of one sequence, ${batch} sequences`,
        ].join('\n'),
      );
    });
}
