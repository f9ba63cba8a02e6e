import { openCheckpoint } from '../checkpoint/index.ts';
import { FormatError } from '../errors.ts';
import type { Store } from '../io/types.ts';
import type { Plan } from '../recipe/plan.ts';

/**
 * Reads the structure of what was written with the reader that users' files go through: every tensor is there, with the type and
 * shape the plan says. @throws FormatError naming the first difference.
 */
export async function checkOutput(plan: Plan, store: Store, files: string): Promise<void> {
  const [first] = plan.layout.files;
  const location = plan.output.kind === 'folder' ? { store, name: files } : { store, name: `${files}/${first!.name}` };
  const written = await openCheckpoint(location);
  try {
    for (const tensor of plan.layout.tensors) {
      const bytes = [...written.tensors.values()].filter(
        (entry) => entry.name === tensor.name || entry.name.startsWith(`${tensor.name}.`),
      );
      const sum = bytes.reduce((total, entry) => total + entry.bytes, 0);
      if (sum !== tensor.bytes) {
        throw new FormatError({
          what: 'the output does not hold what was planned',
          where: tensor.name,
          value: `${sum} bytes`,
          limit: `${tensor.bytes} bytes`,
        });
      }
    }
  } finally {
    await written.close();
  }
}
