/**
 * The journal of a run: one JSON line a finished tile, beside the unfinished output. A killed run leaves a last line that may be
 * cut; it is ignored, and its tile is done again.
 */
import { RecipeError } from '../errors.ts';
import type { TileErrors } from '../evaluate/tensor-report.ts';
import type { Store } from '../io/types.ts';
import type { KeyParts } from '../recipe/plan.ts';
import type { SolveRecord } from './calibration/solver.ts';
import type { RangeRecord } from './ranges/search.ts';
import { textOf } from './text.ts';

/** [tensor, first row, errors of the tile or null]. */
export type TileEntry = [tensor: number, from: number, errors: TileErrors | null];

type Entry = TileEntry | SolveRecord | { ranges: readonly RangeRecord[] };

/** What an earlier run finished. */
export interface Journal {
  readonly tiles: readonly TileEntry[];
  /** How the inputs of linears were solved: a tensor that is taken over is not solved again. */
  readonly solves: readonly SolveRecord[];
  /** Ranges by the loss of the model, once all are chosen. */
  readonly ranges: readonly RangeRecord[];
  add(entry: Entry): Promise<void>;
}

/** What the bytes of an output depend on, each as a hash: of two runs they tell what differs. */
export type RunParts = KeyParts & { readonly text: string };

const partNames: Readonly<Record<keyof RunParts, string>> = {
  version: 'version of fewbits',
  source: 'source',
  recipe: 'recipe',
  statistics: 'statistics file',
  text: 'calibration text',
  layout: 'division into files',
};

/**
 * Opens the journal of the unfinished output in `folder`, or throws what lies there away and begins one. `key` names the run:
 * recipe, source and layout.
 * @throws RecipeError when the unfinished output belongs to another run and `restart` is not set.
 */
export async function openJournal(
  store: Store,
  folder: string,
  key: string,
  restart: boolean,
  parts?: RunParts,
): Promise<Journal> {
  const name = `${folder}/journal.jsonl`;
  const lines = (await textOf(store, name)).split('\n').filter(Boolean);
  const head = lines.length ? parse<{ run?: string; parts?: Partial<RunParts> }>(lines[0]!) : undefined;
  const add = (entry: Entry) => store.append(name, encode(entry));
  if (head?.run === key && !restart) {
    const entries = lines.slice(1).map((line) => parse<unknown>(line));
    // A cut last line must not run into the next entry.
    await store.append(name, new TextEncoder().encode('\n'));
    const ranges = entries.filter(isRanges).flatMap((one) => one.ranges);
    return { tiles: entries.filter(isTile), solves: entries.filter(isSolve), ranges, add };
  }
  if (head && !restart) {
    throw new RecipeError({
      what: `an unfinished output of another ${differing(parts, head.parts)} lies here`,
      where: `${store.name}/${folder}`,
      next: 'run the command that began it, or add --restart to throw it away',
    });
  }
  // Files of another layout would be published with the new ones.
  for (const old of [
    'files',
    'replaced',
    'publishing',
    'activations',
    'original',
    'rewritten.safetensors',
    'rewritten.json',
    'rewritten.json.part',
    'journal.jsonl',
  ])
    await store.remove(`${folder}/${old}`);
  await store.append(name, encode({ run: key, ...(parts && { parts }) }));
  return { tiles: [], solves: [], ranges: [], add };
}

/** 'recipe', 'source and calibration text' */
function differing(ours: RunParts | undefined, theirs: Partial<RunParts> = {}): string {
  const names = Object.entries(partNames) as [keyof RunParts, string][];
  const others = names.filter(([part]) => ours?.[part] !== theirs[part]).map(([, name]) => name);
  // Places follow from the source and the recipe.
  const causes = others.length > 1 ? others.filter((name) => name !== partNames.layout) : others;
  const known = ours && Object.keys(theirs).length > 0 && causes.length > 0;
  return known ? causes.join(' and another ') : 'recipe or source';
}

function isTile(value: unknown): value is TileEntry {
  return Array.isArray(value) && value.length === 3 && Number.isInteger(value[0]) && Number.isInteger(value[1]);
}

function isSolve(value: unknown): value is SolveRecord {
  return typeof value === 'object' && value !== null && Array.isArray((value as SolveRecord).linears);
}

function isRanges(value: unknown): value is { ranges: RangeRecord[] } {
  return typeof value === 'object' && value !== null && Array.isArray((value as { ranges?: unknown }).ranges);
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
