/** `fewbits hardware energy`: of a token or a layer, by precision. */
import { Command, Option } from 'commander';
import { RecipeError } from '../../errors.ts';
import {
  type Energy,
  energy45nm,
  energyOperations,
  layerEnergy,
  macsPerSquareMillimetre,
  type Precision,
  tokenEnergy,
} from '../../hardware/index.ts';
import { integer, size } from '../options.ts';
import { printResult, small, table } from '../terminal.ts';
import {
  type CacheFlags,
  cacheOf,
  chosenPrecision,
  comparedWith,
  type StorageFlags,
  type Subject,
  type SubjectFlags,
  sizeOf,
  subjectOf,
  withCache,
  withHeads,
  withStorage,
  withSubject,
} from './subject.ts';

interface EnergyFlags extends SubjectFlags, StorageFlags, CacheFlags {
  activationBits?: number;
  in?: number;
  out?: number;
  dram: 'least' | 'most';
  sram?: number;
}

export function energyCommand(): Command {
  return withHeads(withCache(withStorage(withSubject(new Command('energy')))))
    .description('energy of a generated token, or of a linear layer (--in, --out), by precision; silicon area')
    .option('--activation-bits <b>', 'bits of inputs: 8 computes in INT8, 16 and 32 in floating point', integer(8, 32))
    .option('--in <n>', 'a linear layer: inputs', integer(1))
    .option('--out <n>', 'a linear layer: outputs', integer(1))
    .option('--sram <size>', "size of the on-chip memory (the table's largest)", size)
    .addOption(new Option('--dram <end>', "which end of the table's range of DRAM").choices(['least', 'most']).default('least'))
    .action(async (name: string | undefined, flags: EnergyFlags) => {
      const { dram, sram, batch } = flags;
      const options = { dram, ...(sram !== undefined && { sramBytes: sram }) };
      const layer = flags.in !== undefined || flags.out !== undefined;
      if (layer && (flags.in === undefined || flags.out === undefined))
        throw new RecipeError({ what: 'a linear layer has inputs and outputs', where: '--in, --out', next: 'give both' });
      const subject: Subject = layer ? { warnings: [] } : await subjectOf(name, flags);
      const tokens = layer ? (flags.tokens ?? 1) : (flags.tokens ?? 0);
      const energyAt = layer
        ? (precision: Precision) => layerEnergy({ in: flags.in!, out: flags.out!, tokens: tokens * batch }, precision, options)
        : (precision: Precision) =>
            tokenEnergy(sizeOf(subject, flags), precision, { tokens, batch, cache: cacheOf(flags) }, options);
      const chosen = chosenPrecision(flags);
      const { picojoules, byOperation } = energyAt(chosen);
      const document = {
        picojoules,
        byOperation,
        of: layer ? 'layer' : 'token',
        precision: chosen.name,
        node: energy45nm.node,
        source: energy45nm.source,
        dram,
        rows: comparedWith(chosen).map((precision) => ({
          precision: precision.name,
          ...energyAt(precision),
          macsPerSquareMillimetre: macsPerSquareMillimetre(precision.compute),
        })),
        warnings: subject.warnings,
      };
      printResult(flags, document, () => energyText(document));
    });
}

function energyText({
  of,
  node,
  source,
  dram,
  rows,
}: {
  of: string;
  node: string;
  source: string;
  dram: string;
  rows: EnergyRow[];
}): string {
  return [
    table(
      [`energy of a ${of}`, 'mJ', ...energyOperations, 'MACs/mm²'],
      rows.map(({ precision, picojoules, byOperation, macsPerSquareMillimetre: area }) => [
        precision,
        small(picojoules / 1e9),
        ...energyOperations.map((name) => `${((100 * byOperation[name]) / picojoules).toFixed(1)} %`),
        area.toFixed(0),
      ]),
      [1, 2, 3, 4, 5, 6],
    ),
    `${node}, DRAM at the ${dram} of its range: ${source}`,
  ].join('\n');
}

interface EnergyRow extends Energy {
  precision: string;
  macsPerSquareMillimetre: number;
}
