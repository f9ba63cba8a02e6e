/** One process at a time works on an unfinished output: two would publish each other's half-written files. */
import { isRunning, processName } from '#run/spawn';
import { FileError } from '../errors.ts';
import type { Store } from '../io/types.ts';
import { textOf } from './text.ts';

/** Locks of this process. */
const held = new Set<string>();

/**
 * Takes the lock `name`; the lock of a process that has ended is taken over.
 * @returns what gives it back; to be called also when the lock's folder is removed.
 * @throws FileError when another process holds it.
 */
export async function takeLock(store: Store, name: string): Promise<() => Promise<void>> {
  const key = `${store.path(name) ?? store.name}/${name}`;
  const mine = new TextEncoder().encode(processName());
  if (!(await store.claim(name, mine))) {
    const holder = await textOf(store, name);
    if (held.has(key) || isRunning(holder)) {
      throw new FileError({
        what: 'another process is writing this output',
        where: `${store.name}/${name}`,
        value: holder,
        next: 'wait for it, or remove the lock when that process is on a machine that is gone',
      });
    }
    await store.remove(name);
    if (!(await store.claim(name, mine)))
      throw new FileError({ what: 'another process took the output', where: `${store.name}/${name}` });
  }
  held.add(key);
  return async () => {
    held.delete(key);
    await store.remove(name);
  };
}
