import { openCheckpoint } from '../checkpoint/index.ts';
import type { TensorEntry } from '../checkpoint/types.ts';
import { VerificationError } from '../errors.ts';
import { fieldBytes } from '../format/field-ranges.ts';
import type { Store } from '../io/types.ts';
import type { Plan } from '../recipe/plan.ts';

/**
 * Reads the structure of what was written with the reader that users' files go through: every field of every tensor lies where the
 * plan put it, under its tensor's name and with its bytes. @throws VerificationError naming the first difference.
 */
export async function checkOutput(plan: Plan, store: Store, files: string): Promise<void> {
  const { layout, output } = plan;
  const [first] = layout.files;
  const location = output.kind === 'folder' ? { store, name: files } : { store, name: `${files}/${first!.name}` };
  const written = await openCheckpoint(location);
  try {
    const entries = new Map([...written.tensors.values()].map((entry) => [placeOf(entry), entry]));
    for (const { name, from, fields, input = {} } of layout.tensors) {
      const stem = name.replace(/\.weight$/, '');
      const placed = Object.values(fields).map((field) => ({ ...field, bytes: fieldBytes(field, from.rows) }));
      for (const { file, offset, bytes } of [...placed, ...Object.values(input)]) {
        if (bytes === 0) continue;
        const entry = entries.get(`${layout.files[file]!.name}:${offset}`);
        if (entry?.bytes === bytes && (entry.name === name || entry.name.startsWith(`${stem}.`))) continue;
        throw new VerificationError({
          what: 'the output does not hold what was planned',
          where: name,
          value: entry ? `${entry.name} of ${entry.bytes} bytes` : `nothing at byte ${offset}`,
          limit: `${bytes} bytes`,
        });
      }
    }
  } finally {
    await written.close();
  }
}

function placeOf({ source, offset }: TensorEntry): string {
  return `${source.name.split(/[\\/]/).at(-1)}:${offset}`;
}
