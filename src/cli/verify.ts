import { Command } from 'commander';
import { type Verification, verify } from '../run/index.ts';
import { openModel } from './models.ts';
import { withCommon } from './options.ts';
import { CheckFailed, type Common, interruptSignal, printResult, small, table } from './terminal.ts';

export function verifyCommand(): Command {
  return withCommon(new Command('verify'))
    .description('structure, limits, NaN and Inf, provenance; with --against the error of each tensor')
    .argument('<out>')
    .option('--against <model>', 'the model it was made from')
    .action(async (name: string, flags: Common & { against?: string }) => {
      const model = await openModel(name);
      const original = flags.against === undefined ? undefined : await openModel(flags.against);
      try {
        const result = await verify(model, original, interruptSignal());
        const warnings = [...model.warnings, ...result.warnings];
        printResult(flags, { ...result, warnings }, () =>
          [
            ...(original
              ? [
                  table(
                    ['tensor', 'type', 'SQNR dB', 'cosine', 'max error'],
                    result.tensors.map((t) => [
                      t.name,
                      t.type,
                      t.sqnr === undefined ? t.checked : Number.isFinite(t.sqnr) ? t.sqnr.toFixed(2) : 'exact',
                      t.cosine?.toFixed(6) ?? '',
                      t.maxError === undefined ? '' : small(t.maxError),
                    ]),
                    [2, 3, 4],
                  ),
                  '',
                ]
              : []),
            ...warnings.map((warning) => `warning: ${warning}`),
            ...result.problems.map((problem) => `problem: ${problem}`),
            result.ok ? `${name}: ${lookedAt(result)}` : `${name}: ${result.problems.length} problems`,
          ].join('\n'),
        );
        if (!result.ok) throw new CheckFailed(`${name} did not pass: ${result.problems[0]}`);
      } finally {
        await original?.close();
        await model.close();
      }
    });
}

function lookedAt({ tensors }: Verification): string {
  const count = (...kinds: string[]) => tensors.filter((tensor) => kinds.includes(tensor.checked)).length;
  const parts = [
    `${count('decoded', 'compared')} tensors decoded, all finite`,
    count('bytes') ? `${count('bytes')} of integers` : '',
    count('undecodable') ? `${count('undecodable')} not decoded` : '',
  ];
  return parts.filter(Boolean).join(', ');
}
