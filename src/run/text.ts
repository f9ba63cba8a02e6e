import { read } from '../io/index.ts';
import type { Store } from '../io/types.ts';

/** The text of a small file; empty when it is not there. */
export async function textOf(store: Store, name: string): Promise<string> {
  if (!(await store.stat(name))) return '';
  const source = await store.open(name);
  try {
    return new TextDecoder().decode(await read(source, 0, source.size));
  } finally {
    await source.close();
  }
}
