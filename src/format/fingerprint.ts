import type { Checkpoint } from '../checkpoint/types.ts';

/**
 * What a source is, from its headers and sizes alone (hashing the weights would cost as much as quantizing them): sha256 of
 * names, types, shapes, places and the configuration. The same model under another path has the same fingerprint.
 */
export async function fingerprint(checkpoint: Checkpoint): Promise<string> {
  const tensors = [...checkpoint.tensors.values()].map((t) => [t.name, t.type, t.shape, t.offset, t.bytes, t.source.size]);
  return sha256(JSON.stringify([checkpoint.kind, tensors, checkpoint.config ?? null]));
}

/** Where a source is looked into: so many blocks of so many bytes, evenly spread, the first and the last among them. */
const SAMPLE_BLOCKS = 64;
const SAMPLE_BYTES = 4096;

/**
 * sha256 over samples of the sources' bytes: tells two models of the same shapes apart at the cost of some milliseconds. Of a
 * source on a server only the first and the last block are asked for.
 */
export async function contentSample(checkpoint: Checkpoint): Promise<string> {
  const sums: string[] = [];
  for (const source of new Set([...checkpoint.tensors.values()].map((tensor) => tensor.source))) {
    const last = Math.max(0, source.size - SAMPLE_BYTES);
    const blocks = source.handle.kind === 'url' ? 2 : SAMPLE_BLOCKS;
    const places = new Set(Array.from({ length: blocks }, (_, i) => Math.floor((last * i) / (blocks - 1))));
    const sample = new Uint8Array(places.size * SAMPLE_BYTES);
    let at = 0;
    for (const place of places) {
      const length = Math.min(SAMPLE_BYTES, source.size - place);
      await source.readInto(sample.subarray(at, at + length), place);
      at += length;
    }
    sums.push(await sha256(sample));
  }
  return sha256(sums.join());
}

/** What tells a source from others: its headers, and samples of its bytes where they are cheap to read. */
export interface SourceIdentity {
  /** `fingerprint` */
  source: string;
  /** `contentSample`; of a source on a server it would be another. */
  content?: string;
}

export async function identity(checkpoint: Checkpoint): Promise<SourceIdentity> {
  const local = [...checkpoint.tensors.values()].every(({ source }) => source.handle.kind !== 'url');
  return { source: await fingerprint(checkpoint), ...(local && { content: await contentSample(checkpoint) }) };
}

export function sameSource(a: SourceIdentity, b: SourceIdentity): boolean {
  return a.source === b.source && (a.content === undefined || b.content === undefined || a.content === b.content);
}

export async function sha256(data: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
  const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(sum, (b) => b.toString(16).padStart(2, '0')).join('');
}
