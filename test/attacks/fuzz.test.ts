import { describe, expect, test } from 'vitest';
import { writeGguf } from '../../src/checkpoint/gguf/index.ts';
import { openCheckpoint, readTensor } from '../../src/checkpoint/index.ts';
import { writeSafetensors } from '../../src/checkpoint/safetensors/index.ts';
import { FewbitsError } from '../../src/errors.ts';
import { memorySource } from '../../src/io/memory.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';

const ROUNDS = 600;

/** mulberry32: 32 random bits a call, the same for the same seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return (x ^ (x >>> 14)) >>> 0;
  };
}

/** Numbers at which readers break. */
const edges = [0n, 1n, 127n, 255n, 2n ** 16n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

/** One to four changes within the first `header` bytes: bits, edge numbers, bytes taken out or put in, a cut. */
function mutate(file: Uint8Array, header: number, next: () => number): Uint8Array {
  let bytes = file.slice();
  for (let changes = 1 + (next() % 4); changes > 0; changes--) {
    const at = next() % Math.max(1, Math.min(header, bytes.length));
    const kinds: (() => void)[] = [
      () => {
        bytes[at] = bytes[at]! ^ (1 << (next() % 8));
      },
      () => {
        bytes[at] = next() & 255;
      },
      () => {
        if (at + 8 <= bytes.length) new DataView(bytes.buffer).setBigUint64(at, edges[next() % edges.length]!, true);
      },
      () => {
        bytes = Uint8Array.from([...bytes.subarray(0, at), ...bytes.subarray(at + 1 + (next() % 8))]);
      },
      () => {
        bytes = Uint8Array.from([...bytes.subarray(0, at), ...bytes.subarray(at - (at % 16), at), ...bytes.subarray(at)]);
      },
      () => {
        bytes = bytes.slice(0, next() % (bytes.length + 1));
      },
    ];
    kinds[next() % kinds.length]!();
  }
  return bytes;
}

const tensors = new Map<string, Tensor>([
  ['token_embd.weight', { type: 'f16', shape: [8, 32], bytes: new Uint8Array(512).fill(60) }],
  ['blk.0.attn_q.weight', { type: 'f32', shape: [2, 32], bytes: new Uint8Array(256) }],
  ['norm', { type: 'f32', shape: [5], bytes: new Uint8Array(20) }],
]);
const gguf = writeGguf(
  [
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['general.alignment', { type: 'u32', value: 32 }],
    ['llama.block_count', { type: 'u32', value: 1 }],
    ['llama.rope.freq_base', { type: 'f32', value: 10000 }],
    ['tokenizer.ggml.tokens', { type: 'array', of: 'string', value: ['<s>', 'a', 'é'] }],
    ['tokenizer.ggml.scores', { type: 'array', of: 'f32', value: [0, -1, -2] }],
    ['flag', { type: 'bool', value: true }],
  ],
  tensors,
);
const bag = writeSafetensors(tensors, new Map([['format', 'pt']]));

describe.each([
  ['gguf', gguf, 500],
  ['safetensors', bag, 300],
] as const)('mutations of a %s file', (name, file, header) => {
  test('are read or refused, never anything else', async () => {
    const next = random(20_260_101);
    let accepted = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = mutate(file, header, next);
      try {
        const checkpoint = await openCheckpoint({ source: memorySource(bytes, `mutation-${round}.${name}`) });
        for (const entry of checkpoint.tensors.values()) await readTensor(entry);
        accepted++;
      } catch (error) {
        if (!(error instanceof FewbitsError)) throw new Error(`round ${round}: ${String(error)}`, { cause: error });
      }
    }
    // Both ways out are taken: the mutations are neither all harmless nor all fatal.
    expect(accepted).toBeGreaterThan(5);
    expect(accepted).toBeLessThan(ROUNDS - 100);
  });
});
