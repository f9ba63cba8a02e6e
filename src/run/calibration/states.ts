/**
 * The hidden states of all samples between two layers, [samples, context, hidden]: in memory, or in a file where they are many.
 * Each piece is read, computed and written back in place.
 */
import { LimitError } from '../../errors.ts';
import { bytesOf } from '../../graph/index.ts';
import type { ByteSink, Store } from '../../io/types.ts';
import { STATE_BYTES } from '../../recipe/memory.ts';

/** Where hidden states go that do not fit. */
export interface Spill {
  readonly store: Store;
  /** Made in the store and removed when the walk is closed. */
  readonly folder: string;
}

export interface HiddenStates {
  /** Values [from, from + count); in memory a view, else a copy. */
  read(from: number, count: number): Promise<Float32Array>;
  write(values: Float32Array, from: number): Promise<void>;
  close(): Promise<void>;
}

/** @throws LimitError when the states are larger than `bufferBytes` and there is nowhere to spill them. */
export async function hiddenStates(
  count: number,
  { bufferBytes = STATE_BYTES, spill }: { bufferBytes?: number; spill?: Spill | undefined },
): Promise<HiddenStates> {
  const bytes = 4 * count;
  if (bytes <= bufferBytes) return inMemory(new Float32Array(count));
  if (spill) return inFile(await spill.store.create(`${spill.folder}/hidden.f32`, bytes), spill);
  throw new LimitError({
    what: 'the hidden states of all samples do not fit into memory',
    value: bytes,
    limit: bufferBytes,
    next: 'give a folder to spill them into, or use fewer samples or a shorter context',
  });
}

function inMemory(states: Float32Array): HiddenStates {
  return {
    read: async (from, count) => states.subarray(from, from + count),
    write: async (values, from) => states.set(values, from),
    close: async () => {},
  };
}

function inFile(file: ByteSink, { store, folder }: Spill): HiddenStates {
  return {
    async read(from, count) {
      const values = new Float32Array(count);
      await file.readInto(bytesOf(values), 4 * from);
      return values;
    },
    write: (values, from) => file.write(bytesOf(values), 4 * from),
    async close() {
      await file.close();
      await store.remove(folder);
    },
  };
}
