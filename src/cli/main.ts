#!/usr/bin/env node
/** The command line. Each command is one file; what it prints is one document (--json) or tables for people. */
import { Command, CommanderError } from 'commander';
import { FewbitsError, printable, RecipeError, VerificationError } from '../errors.ts';
import { VERSION } from '../version.ts';
import { benchCommand } from './bench.ts';
import { calibrateCommand } from './calibrate.ts';
import { compareCommand } from './compare.ts';
import { convertCommand } from './convert.ts';
import { evaluateCommand } from './evaluate.ts';
import { forwardCommand } from './forward.ts';
import { generateCommand } from './generate.ts';
import { hardwareCommand } from './hardware.ts';
import { inspectCommand } from './inspect.ts';
import { planCommand } from './plan.ts';
import { quantizeCommand } from './quantize.ts';
import { recommendCommand } from './recommend.ts';
import { CheckFailed } from './terminal.ts';
import { tourCommand } from './tour.ts';
import { verifyCommand } from './verify.ts';

const commands = [
  tourCommand,
  inspectCommand,
  planCommand,
  quantizeCommand,
  evaluateCommand,
  compareCommand,
  calibrateCommand,
  convertCommand,
  verifyCommand,
  generateCommand,
  forwardCommand,
  recommendCommand,
  benchCommand,
  hardwareCommand,
];

const program = new Command('fewbits')
  .description('Makes large language models smaller and shows what that costs.')
  .version(VERSION)
  .showHelpAfterError(false)
  .configureOutput({ writeErr: () => {} })
  .exitOverride();
for (const command of commands)
  program.addCommand(
    command()
      .exitOverride()
      .configureOutput({ writeErr: () => {} }),
    { isDefault: command === tourCommand },
  );

/** The tour is what runs without a command, so that commander takes a misspelt command for an argument of it. */
function refuseUnknownCommand(name: string | undefined): void {
  const known = program.commands.map((command) => command.name());
  if (name === undefined || name.startsWith('-') || name === 'help' || known.includes(name)) return;
  throw new RecipeError({ what: `unknown command '${name}'`, next: `choose one of ${known.join(', ')}` });
}

const debug = process.argv.includes('--debug');

/** 0 done, 1 a check failed, 2 bad input or usage, 130 interrupted. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof CheckFailed || error instanceof VerificationError) return 1;
  if (error instanceof DOMException && error.name === 'AbortError') return 130;
  return 2;
}

function sayWhy(error: unknown): void {
  if (error instanceof CommanderError && error.exitCode === 0) return;
  if (error instanceof DOMException && error.name === 'AbortError') {
    process.stderr.write(`fewbits: ${error.message}\n`);
    return;
  }
  const known = error instanceof FewbitsError || error instanceof CheckFailed || error instanceof CommanderError;
  const text = error instanceof Error ? error.message : String(error);
  const line = printable(
    text
      .replace(/^error: /, '')
      .trim()
      .replaceAll('\n', ' '),
  );
  process.stderr.write(`fewbits: ${known ? line : `internal error: ${line} (--debug shows where; please report it)`}\n`);
  if (debug && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // A reader that has seen enough (head) closes the pipe.
  process.exit(error.code === 'EPIPE' ? 0 : 2);
});

try {
  refuseUnknownCommand(process.argv[2]);
  await program.parseAsync();
} catch (error) {
  sayWhy(error);
  process.exitCode = exitCodeOf(error);
}
