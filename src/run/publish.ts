/**
 * The last step of a run: finished files get their names. A marker in the unfinished folder tells that this has begun, so that a
 * run that is killed between two names can go on.
 */
import { FileError } from '../errors.ts';
import { read } from '../io/index.ts';
import type { Store } from '../io/types.ts';
import type { Plan } from '../recipe/plan.ts';
import type { Report } from './report.ts';

/** Where a run writes: `folder` beside the output, and in it `files`. */
export interface RunPlace {
  plan: Plan;
  store: Store;
  folder: string;
  files: string;
}

export function placeOf(plan: Plan, store: Store): RunPlace {
  const folder = `${plan.output.name}.unfinished`;
  return { plan, store, folder, files: `${folder}/files` };
}

/** From a path in the unfinished folder to the name that it gets. */
function names({ plan, files }: RunPlace): [from: string, to: string][] {
  if (plan.output.kind === 'folder') return [[files, plan.output.name]];
  return plan.layout.files.map(({ name }) => [`${files}/${name}`, name]);
}

const reportOf = ({ plan, files }: RunPlace) =>
  plan.output.kind === 'folder' ? `${files}/report.json` : `${plan.output.name}.report.json`;
const markerOf = ({ folder }: RunPlace) => `${folder}/publishing`;

/** @throws FileError when a file or folder of the output's name is there. */
export async function refuseExisting(place: RunPlace): Promise<void> {
  const { store } = place;
  for (const [, name] of names(place)) {
    if (!(await store.stat(name))) continue;
    throw new FileError({
      what: 'the output exists already',
      where: `${store.name}/${name}`,
      next: 'choose another name or add --force',
    });
  }
}

/** Gives the finished output its name; the report goes beside a file and into a folder. */
export async function publish(place: RunPlace, report: Report, force: boolean): Promise<void> {
  const { plan, store, folder } = place;
  const text = new TextEncoder();
  await store.remove(markerOf(place));
  await store.append(markerOf(place), text.encode(plan.key));
  await store.remove(reportOf(place));
  await store.append(reportOf(place), text.encode(`${JSON.stringify(report, null, 2)}\n`));
  for (const [from, to] of names(place)) {
    if (force && plan.output.kind === 'folder') await store.remove(to);
    await store.rename(from, to);
  }
  await store.remove(folder);
}

/** What this very run had named when it was killed becomes unfinished again: it is checked and named as if nothing had been. */
export async function takeBack(place: RunPlace): Promise<void> {
  const { plan, store } = place;
  if ((await textOf(store, markerOf(place))) !== plan.key) return;
  for (const [from, to] of names(place)) if ((await store.stat(to)) && !(await store.stat(from))) await store.rename(to, from);
  await store.remove(reportOf(place));
  await store.remove(markerOf(place));
}

async function textOf(store: Store, name: string): Promise<string | undefined> {
  if (!(await store.stat(name))) return undefined;
  const source = await store.open(name);
  try {
    return new TextDecoder().decode(await read(source, 0, source.size));
  } finally {
    await source.close();
  }
}
