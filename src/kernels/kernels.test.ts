// Every type of the table against bytes made by ggml (test/golden/ggml), and the WebAssembly kernels against the references.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type StorageType, storage } from '../tensor/storage.ts';
import { decodeRows, encodeRows } from './encode.ts';
import { blockTypes } from './encoders.ts';
import { loadKernels } from './kernels.ts';

const golden = new URL('../../test/golden/ggml/', import.meta.url);
const kernels = await loadKernels();

interface Manifest {
  cases: Record<string, { rows: number; n: number }>;
  types: Record<string, { ggml_name: string; imatrix: string; file: string; cases: Record<string, Record<string, Hashes>> }>;
}
interface Hashes {
  sha256_encoded: string;
  sha256_decoded?: string;
  row_bytes: number;
  row_sha256_16?: string[];
}

const manifest: Manifest = JSON.parse(readFileSync(new URL('manifest.json', golden), 'utf8'));
const inputs = readTensors('inputs.safetensors');

/** Name -> bytes; enough of safetensors for files that are known to be well-formed. */
function readTensors(file: string): Map<string, Uint8Array> {
  const bytes = readFileSync(new URL(file, golden));
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header: Record<string, { data_offsets: [number, number] }> = JSON.parse(bytes.toString('utf8', 8, start));
  delete header['__metadata__'];
  return new Map(
    Object.entries(header).map(
      ([
        name,
        {
          data_offsets: [from, to],
        },
      ]) => [name, new Uint8Array(bytes.subarray(start + from, start + to))],
    ),
  );
}

function floats(name: string): Float32Array {
  return new Float32Array(inputs.get(name)!.slice().buffer);
}

function bytesOf(x: Float32Array): Uint8Array {
  return new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A failure names the first differing block rather than printing kilobytes. */
function expectBytes(got: Uint8Array, want: Uint8Array, type: StorageType, what: string): void {
  expect(got.length, what).toBe(want.length);
  const at = got.findIndex((byte, i) => byte !== want[i]);
  if (at < 0) return;
  const { bytes } = storage[type];
  const block = Math.floor(at / bytes);
  const cut = (x: Uint8Array) => Buffer.from(x.subarray(block * bytes, (block + 1) * bytes)).toString('hex');
  expect(cut(got), `${what}: block ${block} of ${want.length / bytes}`).toBe(cut(want));
}

const encoders = (type: StorageType) =>
  [
    ['reference', blockTypes[type].ref.encode],
    ['kernel', (x: Float32Array, cols: number, weights?: Float32Array) => encodeRows(kernels, type, x, cols, weights)],
  ] as const;
const decoders = (type: StorageType) =>
  [
    ['reference', blockTypes[type].ref.decode],
    ['kernel', (bytes: Uint8Array, n: number) => decodeRows(kernels, type, bytes, n)],
  ] as const;

describe('ggml golden bytes', () => {
  for (const [name, { cases, file, imatrix }] of Object.entries(manifest.types)) {
    const type = name.toLowerCase() as StorageType;
    if (!Object.hasOwn(blockTypes, type)) continue;
    const tensors = readTensors(file);

    it(`${name}: the table says what an importance matrix does`, () => expect(blockTypes[type].imatrix).toBe(imatrix));

    for (const [caseName, variants] of Object.entries(cases)) {
      const { n: cols } = manifest.cases[caseName];
      const x = floats(`${caseName}.input`);
      for (const [variant, hashes] of Object.entries(variants)) {
        const weights = variant === 'none' ? undefined : floats(`${variant}.n${cols}`);
        const infix = variant === 'none' ? '' : `.${variant}`;

        it(`${name} ${caseName} ${variant}`, () => {
          const want = tensors.get(`${caseName}${infix}.encoded`);
          for (const [who, encode] of encoders(type)) {
            const got = encode(x, cols, weights);
            if (want) expectBytes(got, want, type, who);
            else expect(differingRows(got, hashes), `${who}: rows that differ`).toEqual([]);
            expect(sha256(got), who).toBe(hashes.sha256_encoded);
            if (!hashes.sha256_decoded) continue;
            const decoded = tensors.get(`${caseName}${infix}.decoded`);
            for (const [decoder, decode] of decoders(type)) {
              const values = bytesOf(decode(got, x.length));
              if (decoded) expectBytes(values, decoded, 'f32', `${decoder} decodes`);
              expect(sha256(values), `${decoder} decodes`).toBe(hashes.sha256_decoded);
            }
          }
        });
      }
    }
  }
});

function differingRows(bytes: Uint8Array, { row_bytes, row_sha256_16 }: Hashes): number[] {
  const hash = (row: number) => sha256(bytes.subarray(row * row_bytes, (row + 1) * row_bytes)).slice(0, 16);
  return row_sha256_16!.flatMap((want, row) => (hash(row) === want ? [] : [row]));
}
