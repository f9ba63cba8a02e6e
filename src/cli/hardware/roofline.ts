/** `fewbits hardware roofline`: what a machine allows at best. */
import { cpus, totalmem } from 'node:os';
import { Command, Option } from 'commander';
import { RecipeError } from '../../errors.ts';
import {
  convolutionWork,
  type DecoderPhase,
  decoderRoofline,
  type Machine,
  machineNamed,
  machines,
  type Precision,
  resnetConvolution,
  roofline,
} from '../../hardware/index.ts';
import { probeMachine } from '../../run/index.ts';
import { integer, number, size, threadsOf } from '../options.ts';
import { interruptSignal, printResult, table } from '../terminal.ts';
import {
  type CacheFlags,
  cacheOf,
  chosenPrecision,
  comparedWith,
  type StorageFlags,
  type SubjectFlags,
  sizeOf,
  subjectOf,
  withCache,
  withHeads,
  withStorage,
  withSubject,
} from './subject.ts';

interface RooflineFlags extends SubjectFlags, StorageFlags, CacheFlags {
  activationBits?: number;
  machine?: string;
  bandwidth?: number;
  rate?: number;
  phase: DecoderPhase;
}

/** The first machine of the table, where nobody names one. */
const defaultMachine = machines[0]!.name;

export function rooflineCommand(): Command {
  return withHeads(withCache(withStorage(withSubject(new Command('roofline')))))
    .description('tokens a second that a machine allows at best, and what bounds them')
    .option('--activation-bits <b>', 'bits of inputs: 8 computes in INT8, 16 and 32 in floating point', integer(8, 32))
    .option(
      '--machine <name>',
      `measured (this one, by a probe of some seconds), ${machines.map((machine) => machine.name).join(', ')} (${defaultMachine})`,
    )
    .option('--bandwidth <size>', 'instead of --machine: bytes of memory a second, 50GB', size)
    .option('--rate <n>', 'instead of --machine: operations a second, 2e12', number(1))
    .addOption(new Option('--phase <name>', 'which phase is answered with').choices(['decode', 'prefill']).default('decode'))
    .action(async (name: string | undefined, flags: RooflineFlags) => {
      const subject = await subjectOf(name, flags);
      const decoder = sizeOf(subject, flags);
      const chosen = chosenPrecision(flags);
      const machine = await machineOf(flags, chosen);
      const { batch } = flags;
      const tokens = flags.tokens ?? 512;
      const at = (precision: Precision, phase: DecoderPhase) => ({
        precision: precision.name,
        ...decoderRoofline(decoder, precision, machine, phase, { tokens, batch, cache: cacheOf(flags) }),
      });
      const convolution = (precision: Precision) => {
        const row = roofline(convolutionWork(resnetConvolution, precision, batch), machine, precision.compute);
        return { precision: precision.name, ...row, phase: 'convolution', batch, imagesPerSecond: batch / row.seconds };
      };
      const compared = comparedWith(chosen).filter(({ compute }) => computes(machine, compute));
      const { tokensPerSecond, bound, intensity, ridge, fits } = at(chosen, flags.phase);
      const document = {
        tokensPerSecond,
        bound,
        intensity,
        ridge,
        ...(fits !== undefined && { fits }),
        phase: flags.phase,
        precision: chosen.name,
        tokens,
        batch,
        machine,
        rows: (['prefill', 'decode'] as const).flatMap((phase) => compared.map((precision) => at(precision, phase))),
        convolutions: compared.map(convolution),
        warnings: subject.warnings,
      };
      printResult(flags, document, () =>
        [
          table(
            ['', 'precision', 'a second', 'bound', 'operations/byte', 'ridge', 'computes in', 'fits'],
            [...document.rows, ...document.convolutions].map((row) => [
              row.phase,
              row.precision,
              'tokensPerSecond' in row ? `${perSecond(row.tokensPerSecond)} tokens` : `${perSecond(row.imagesPerSecond)} images`,
              row.bound,
              row.intensity.toPrecision(3),
              row.ridge.toPrecision(3),
              row.compute,
              'fits' in row ? (row.fits ? 'yes' : 'no') : '',
            ]),
            [2, 4, 5],
          ),
          `${machine.title}, ${tokens} tokens, batch ${batch}: at best; convolution: a layer of ResNet-50 (3 x 3, 128 channels, 28 x 28). ${machine.source} (${machine.date})${machine.note ? `; ${machine.note}` : ''}`,
        ].join('\n'),
      );
    });
}

/** Four significant digits, without an exponent. */
function perSecond(rate: number): string {
  return rate < 1000 ? rate.toPrecision(4) : `${Number(rate.toPrecision(4))}`;
}

function computes({ rates }: Machine, compute: Precision['compute']): boolean {
  return rates[compute] !== undefined || rates.fp32 !== undefined || (compute === 'int8' && rates.fp16 !== undefined);
}

/** A machine of the table, or one that two numbers describe. */
async function machineOf(flags: RooflineFlags, { compute }: Precision): Promise<Machine> {
  const { machine, bandwidth, rate } = flags;
  if (bandwidth === undefined && rate === undefined)
    return machine === 'measured' ? measuredMachine(flags) : machineNamed(machine ?? defaultMachine);
  if (bandwidth === undefined || rate === undefined || machine !== undefined)
    throw new RecipeError({ what: 'a machine is a name, or a bandwidth and a rate', where: '--machine, --bandwidth, --rate' });
  const rates = { fp32: rate, [compute]: rate };
  return { name: 'given', title: 'the machine of the options', kind: 'cpu', rates, bandwidth, source: 'options', date: '' };
}

async function measuredMachine(flags: RooflineFlags): Promise<Machine> {
  const title = cpus()[0]?.model.trim() || 'this machine';
  const { machine } = await probeMachine({ threads: threadsOf(flags), title, memory: totalmem(), signal: interruptSignal() });
  return machine;
}
