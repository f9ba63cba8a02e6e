/**
 * What a run may replace, and the last step: finished files get their names. A marker in the unfinished folder tells that this has
 * begun, so that a run that is killed between two names can go on.
 */
import { FileError } from '../errors.ts';
import type { Store } from '../io/types.ts';
import type { Plan } from '../recipe/plan.ts';
import type { Report } from './report.ts';
import { textOf } from './text.ts';

/** Where a run writes: `folder` beside the output, and in it `files`. */
export interface RunPlace {
  plan: Plan;
  store: Store;
  /** Names this run: the plan's key and what the source holds. */
  key: string;
  folder: string;
  files: string;
}

export function placeOf(plan: Plan, store: Store, key: string): RunPlace {
  const folder = `${plan.output.name}.unfinished`;
  return { plan, store, key, folder, files: `${folder}/files` };
}

/** From a path in the unfinished folder to the name that it gets. */
function names({ plan, files }: RunPlace): [from: string, to: string][] {
  if (plan.output.kind === 'folder') return [[files, plan.output.name]];
  return plan.layout.files.map(({ name }) => [`${files}/${name}`, name]);
}

const reportOf = ({ plan, files }: RunPlace) =>
  plan.output.kind === 'folder' ? `${files}/report.json` : `${plan.output.name}.report.json`;
const markerOf = ({ folder }: RunPlace) => `${folder}/publishing`;
const replacedOf = ({ folder }: RunPlace) => `${folder}/replaced`;

/**
 * @throws FileError when something of the output's name is there and `force` is not set, or, even then, when it is the source or a
 *   folder with files that are not ours.
 */
export async function refuseExisting(place: RunPlace, force: boolean): Promise<void> {
  const { plan, store } = place;
  refuseSource(place);
  const finals = names(place).map(([, to]) => to);
  if (plan.output.kind === 'file') finals.push(reportOf(place));
  for (const name of finals) {
    const found = await store.stat(name);
    if (!found) continue;
    const where = `${store.name}/${name}`;
    if (!force) throw new FileError({ what: 'the output exists already', where, next: 'choose another name or add --force' });
    if (plan.output.kind === 'file' && found.kind === 'folder') {
      throw new FileError({ what: 'a folder has the name of the output file', where, next: 'choose another name' });
    }
    if (plan.output.kind === 'folder' && !(await isOurs(store, name, found.kind))) {
      throw new FileError({
        what: 'the folder holds files that fewbits did not write',
        where,
        next: 'choose another name, or remove it yourself',
      });
    }
  }
}

/** Replacing the source would lose the original weights. */
function refuseSource({ plan, store }: RunPlace): void {
  const output = store.path(plan.output.name);
  if (output === undefined) return;
  for (const { source } of plan.model.checkpoint.tensors.values()) {
    if (source.handle.kind !== 'file') continue;
    const { path } = source.handle;
    const inside = path.startsWith(output) && /^[\\/]/.test(path.slice(output.length));
    if (path === output || inside) {
      throw new FileError({ what: 'the output is the source itself', where: output, next: 'choose another name' });
    }
  }
}

/** A folder that a run of ours wrote, or an empty one. */
async function isOurs(store: Store, name: string, kind: 'file' | 'folder'): Promise<boolean> {
  if (kind === 'file') return false;
  const inside = (await store.list(name)).length;
  if (inside === 0) return true;
  const report = await textOf(store, `${name}/report.json`);
  return report.includes('"bitsPerWeight"') && report.includes('"recipe"');
}

/** Gives the finished output its name; the report goes beside a file and into a folder. What it replaces goes last. */
export async function publish(place: RunPlace, report: Report): Promise<void> {
  const { plan, store, key, folder } = place;
  const text = new TextEncoder();
  await store.remove(markerOf(place));
  await store.append(markerOf(place), text.encode(key));
  await store.remove(reportOf(place));
  await store.append(reportOf(place), text.encode(`${JSON.stringify(report, null, 2)}\n`));
  for (const [from, to] of names(place)) {
    if (plan.output.kind === 'folder' && (await store.stat(to))) await store.rename(to, replacedOf(place));
    await store.rename(from, to);
  }
  // The marker goes last: as long as it is there, a run that is killed here is finished by the same command.
  for (const part of [
    'files',
    'replaced',
    'rewritten.safetensors',
    'rewritten.json',
    'gathered.safetensors',
    'journal.jsonl',
    'lock',
  ])
    await store.remove(`${folder}/${part}`);
  await store.remove(folder);
}

/** What this very run had named when it was killed becomes unfinished again: it is checked and named as if nothing had been. */
export async function takeBack(place: RunPlace): Promise<void> {
  const { store, key } = place;
  if ((await textOf(store, markerOf(place))) !== key) return;
  for (const [from, to] of names(place)) if ((await store.stat(to)) && !(await store.stat(from))) await store.rename(to, from);
  await store.remove(reportOf(place));
  await store.remove(markerOf(place));
}
