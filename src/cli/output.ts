/** Small files that commands write besides models: complete under their name or not there, and never over another without --force. */
import { FileError } from '../errors.ts';
import { placeOf } from './models.ts';

/** @throws FileError when it exists already and nothing says that it may be replaced */
export async function refuseExisting(path: string, force = false): Promise<void> {
  const { store, name } = placeOf(path);
  if (force || !(await store.stat(name))) return;
  throw new FileError({ what: 'the output exists already', where: path, next: 'choose another name or add --force' });
}

/** @throws FileError when it cannot be written; what was there before then stays */
export async function writeOutput(path: string, content: string | Uint8Array): Promise<void> {
  const { store, name } = placeOf(path);
  const partial = `${name}.unfinished`;
  await store.remove(partial);
  await store.append(partial, typeof content === 'string' ? new TextEncoder().encode(content) : content);
  await store.rename(partial, name);
}
