/** Every golden architecture against what transformers computes: whole pass, token by token, on both runtimes. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadRuntime } from '#graph/runtime';
import type { JsonObject } from '../checkpoint/types.ts';
import { matchTensors, readSpec } from '../model/index.ts';
import type { LoadedLanguageModel } from './language-model.ts';
import { loadLanguageModel } from './language-model.ts';
import type { Backend } from './onnx-runtime.ts';

const golden = (path: string) => new URL(`../../test/golden/architectures/${path}`, import.meta.url);
const json = (path: string) => JSON.parse(readFileSync(golden(path), 'utf8')) as JsonObject;

interface Loaded {
  shape: number[];
  data: Float32Array;
}

/** Only what these files hold: F32, BF16 and I64. */
const widen: Record<string, (bytes: ArrayBuffer) => Float32Array> = {
  F32: (bytes) => new Float32Array(bytes),
  BF16: (bytes) => new Float32Array(Uint32Array.from(new Uint16Array(bytes), (x) => x << 16).buffer),
  I64: (bytes) => Float32Array.from(new BigInt64Array(bytes), Number),
};

/** A reader of its own, so that these tests stand on nothing but the graph. */
function readSafetensors(path: string): Map<string, Loaded> {
  const bytes = new Uint8Array(readFileSync(golden(path))).buffer;
  const start = 8 + Number(new DataView(bytes).getBigUint64(0, true));
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    new TextDecoder().decode(bytes.slice(8, start)),
  );
  const tensors = new Map<string, Loaded>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [from, to] = entry.data_offsets;
    tensors.set(name, { shape: entry.shape, data: widen[entry.dtype]!(bytes.slice(start + from, start + to)) });
  }
  return tensors;
}

function openCase(name: string, config: string, runtime: Backend): Promise<LoadedLanguageModel> {
  const weights = readSafetensors(`${name}/model.safetensors`);
  const spec = readSpec(json(`${name}/${config}`));
  const { found } = matchTensors(spec, weights);
  return loadLanguageModel(spec, async (tensor) => weights.get(found.get(tensor)!)!.data, { runtime, threads: 1 });
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i]!) || 0, Number.isNaN(x) ? Infinity : 0), 0);
}

/** What `expected` says the losses are, in f64. */
function crossEntropy(logits: Loaded, ids: Int32Array): Float32Array {
  const [batch, length, vocab] = logits.shape as [number, number, number];
  const losses = new Float32Array(batch * (length - 1));
  for (let b = 0; b < batch; b++)
    for (let t = 0; t + 1 < length; t++) {
      const row = logits.data.subarray((b * length + t) * vocab, (b * length + t + 1) * vocab);
      const sum = row.reduce((total, x) => total + Math.exp(x), 0);
      losses[b * (length - 1) + t] = Math.log(sum) - row[ids[b * length + t + 1]!]!;
    }
  return losses;
}

const atol = 1e-4;

/**
 * Hidden states between layers are not normalised (up to 64 here), and both sides round: on mistral, transformers' f32 run is
 * 1.1e-4 and WebAssembly (no fused multiply-add) 1.2e-4 away from the same model in f64. Their difference may reach the sum.
 */
const residualTolerance: Record<Backend, number> = { native: atol, wasm: 2.3e-4 };
const cases = [
  'llama',
  'llama-bias-headdim',
  'llama-rope-dynamic',
  'llama-rope-linear',
  'llama-rope-yarn',
  'llama-tied-rope-llama3',
  'mistral',
  'qwen2',
  'qwen2-sliding',
  'qwen3',
];
const onWasmToo = ['llama', 'mistral', 'qwen2', 'qwen3'];

/** The native runtime is an optional dependency. */
const runtimes = await loadRuntime({ runtime: 'native' }).then(
  (): Backend[] => ['native', 'wasm'],
  (): Backend[] => ['wasm'],
);

describe.each(runtimes)('%s', (runtime) => {
  describe.each(runtime === runtimes[0] ? cases : onWasmToo)('%s', (name) => {
    const expected = readSafetensors(`${name}/expected.safetensors`);
    const [batch, length] = expected.get('input_ids')!.shape as [number, number];
    const ids = Int32Array.from(expected.get('input_ids')!.data);
    const logits = expected.get('logits')!;
    const vocab = logits.shape[2]!;
    let model: LoadedLanguageModel;
    beforeAll(async () => {
      model = await openCase(name, 'config.json', runtime);
    });
    afterAll(() => model.close());

    test('logits and hidden states', async () => {
      const computed = await model.hidden(ids, batch, length);
      expect(largestDifference(computed.logits, logits.data)).toBeLessThanOrEqual(atol);
      const names = [...expected.keys()].filter((key) => key.startsWith('hidden.'));
      expect([...computed.states.keys()].sort()).toEqual(names.map((key) => key.slice('hidden.'.length)).sort());
      for (const [state, values] of computed.states) {
        const tolerance = state === 'embed' || state === 'final' ? atol : residualTolerance[runtime];
        expect(largestDifference(values, expected.get(`hidden.${state}`)!.data), state).toBeLessThanOrEqual(tolerance);
      }
    });

    test('logits alone and losses', async () => {
      expect(model.backend).toBe(runtime);
      expect(largestDifference(await model.logits(ids, batch, length), logits.data)).toBeLessThanOrEqual(atol);
      expect(largestDifference(await model.losses(ids, batch, length), crossEntropy(logits, ids))).toBeLessThanOrEqual(atol);
    });

    test('the transformers 4 form of the configuration is the same model', () => {
      expect(readSpec(json(`${name}/config.legacy.json`))).toEqual(readSpec(json(`${name}/config.json`)));
    });

    // Dynamic rope is left out: its frequencies depend on the length of the sequence.
    test.skipIf(name === 'llama-rope-dynamic')('token by token, both sequences at once', async () => {
      const decoder = await model.decoder(batch);
      const rows = (logitsOf: Float32Array, from: number, count: number) =>
        Float32Array.from({ length: batch * count * vocab }, (_, i) => {
          const [b, rest] = [Math.floor(i / (count * vocab)), i % (count * vocab)];
          return logitsOf[(b * length + from) * vocab + rest]!;
        });
      const column = (from: number, count: number) =>
        Int32Array.from({ length: batch * count }, (_, i) => ids[Math.floor(i / count) * length + from + (i % count)]!);
      // One token, a prompt of five, then singly: a cache must not care.
      for (let at = 0; at < length; ) {
        const count = at === 1 ? 5 : 1;
        const step = await decoder.step(column(at, count));
        expect(largestDifference(step, rows(logits.data, at, count)), `position ${at}`).toBeLessThanOrEqual(atol);
        at += count;
        expect(decoder.length).toBe(at);
      }
    });
  });
});
