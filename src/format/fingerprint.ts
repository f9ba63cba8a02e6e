import type { Checkpoint } from '../checkpoint/types.ts';

/**
 * What a source is, from its headers and sizes alone (hashing the weights would cost as much as quantizing them): sha256 of
 * names, types, shapes, places and the configuration. The same model under another path has the same fingerprint.
 */
export async function fingerprint(checkpoint: Checkpoint): Promise<string> {
  const tensors = [...checkpoint.tensors.values()].map((t) => [t.name, t.type, t.shape, t.offset, t.bytes, t.source.size]);
  return sha256(JSON.stringify([checkpoint.kind, tensors, checkpoint.config ?? null]));
}

export async function sha256(data: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
  const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(sum, (b) => b.toString(16).padStart(2, '0')).join('');
}
