/** Files that other packages wrote, as stores and as raw tensors. */
import { readdirSync, readFileSync } from 'node:fs';
import { openCheckpoint, readTensor } from '../checkpoint/index.ts';
import type { JsonObject } from '../checkpoint/types.ts';
import { MemoryStore, memorySource } from '../io/index.ts';
import type { Tensor } from '../tensor/index.ts';

const golden = new URL('../../test/golden/formats/', import.meta.url);

export function goldenCases(container: string, pattern: RegExp): string[] {
  return readdirSync(new URL(`${container}/`, golden)).filter((name) => pattern.test(name));
}

export function goldenBytes(path: string): Uint8Array {
  return Uint8Array.from(readFileSync(new URL(path, golden)));
}

export function goldenJson<T = JsonObject>(path: string): T {
  return JSON.parse(new TextDecoder().decode(goldenBytes(path)));
}

export async function tensorsOf(bytes: Uint8Array): Promise<Map<string, Tensor>> {
  const checkpoint = await openCheckpoint({ source: memorySource(bytes, 'golden.safetensors') });
  return new Map(
    await Promise.all([...checkpoint.tensors.values()].map(async (entry) => [entry.name, await readTensor(entry)] as const)),
  );
}

/** A folder `model/` of these files. */
export function folderOf(files: Readonly<Record<string, Uint8Array | object>>): MemoryStore {
  const bytes = (value: Uint8Array | object) =>
    value instanceof Uint8Array ? value : new TextEncoder().encode(JSON.stringify(value));
  return new MemoryStore(
    'golden',
    Object.entries(files).map(([name, value]) => [`model/${name}`, bytes(value)] as const),
  );
}
