/**
 * The journal of a run: one JSON line a finished tile, beside the unfinished output. A killed run leaves a last line that may be
 * cut; it is ignored, and its tile is done again.
 */
import { RecipeError } from '../errors.ts';
import type { TileErrors } from '../evaluate/tensor-report.ts';
import type { Store } from '../io/types.ts';
import { textOf } from './text.ts';

/** [tensor, first row, errors of the tile or null]. */
export type JournalEntry = [tensor: number, from: number, errors: TileErrors | null];

export interface Journal {
  /** What an earlier run finished. */
  readonly done: readonly JournalEntry[];
  add(entry: JournalEntry): Promise<void>;
}

/**
 * Opens the journal of the unfinished output in `folder`, or throws what lies there away and begins one. `key` names the run:
 * recipe, source and layout.
 * @throws RecipeError when the unfinished output belongs to another run and `restart` is not set.
 */
export async function openJournal(store: Store, folder: string, key: string, restart: boolean): Promise<Journal> {
  const name = `${folder}/journal.jsonl`;
  const lines = (await textOf(store, name)).split('\n').filter(Boolean);
  const head = lines.length ? parse<{ run?: string }>(lines[0]!) : undefined;
  const add = (entry: JournalEntry) => store.append(name, encode(entry));
  if (head?.run === key && !restart) {
    const done = lines.slice(1).map((line) => parse<JournalEntry>(line));
    // A cut last line must not run into the next entry.
    await store.append(name, new TextEncoder().encode('\n'));
    return { done: done.filter(isEntry), add };
  }
  if (head && !restart) {
    throw new RecipeError({
      what: 'an unfinished output of another recipe or source lies here',
      where: `${store.name}/${folder}`,
      next: 'run the command that began it, or add --restart to throw it away',
    });
  }
  // Files of another layout would be published with the new ones.
  for (const old of ['files', 'replaced', 'publishing', 'journal.jsonl']) await store.remove(`${folder}/${old}`);
  await store.append(name, encode({ run: key }));
  return { done: [], add };
}

function isEntry(value: unknown): value is JournalEntry {
  return Array.isArray(value) && value.length === 3 && Number.isInteger(value[0]) && Number.isInteger(value[1]);
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value)}\n`);
}

function parse<T>(line: string): T | undefined {
  try {
    return JSON.parse(line) as T;
  } catch {
    return undefined;
  }
}
