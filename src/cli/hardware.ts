/** The calculators of hardware/: what a model takes in memory, energy and time, from a model or from a number of parameters. */
import { Command } from 'commander';
import { RecipeError } from '../errors.ts';
import { energyCommand } from './hardware/energy.ts';
import { kvCommand } from './hardware/kv.ts';
import { macCommand } from './hardware/mac.ts';
import { memoryCommand } from './hardware/memory.ts';
import { rooflineCommand } from './hardware/roofline.ts';

export function hardwareCommand(): Command {
  const hardware = new Command('hardware')
    .description('calculators: memory, key/value cache, a multiply-accumulate array, energy, roofline')
    .argument('[calculator]')
    // What belongs to a calculator is not what is wrong where none is named.
    .allowUnknownOption()
    .allowExcessArguments()
    .action((name?: string) => {
      const next = `choose one of ${calculators.map((command) => command.name()).join(', ')}`;
      throw new RecipeError({ what: name === undefined ? 'no calculator is named' : `unknown calculator '${name}'`, next });
    });
  const calculators = [memoryCommand(), kvCommand(), macCommand(), energyCommand(), rooflineCommand()];
  for (const command of calculators) {
    hardware.addCommand(command.exitOverride().configureOutput({ writeErr: () => {} }));
  }
  return hardware;
}
