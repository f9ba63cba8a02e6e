/** Rotations inside the graph: with QuaRot's rotated weights they give the logits of the model before, alone they are R3. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ModelError } from '../errors.ts';
import type { ModelSpec } from '../model/types.ts';
import { sylvester } from '../quantize/index.ts';
import type { KvScheme } from '../quantized/types.ts';
import type { StorageType } from '../tensor/storage.ts';
import { toF32 } from '../tensor/values.ts';
import { type LanguageModelOptions, loadLanguageModel } from './language-model.ts';
import { buildModel } from './model.ts';
import { type InputRotation, rotateHeads, rotateInputs, type SquareMatrix } from './rotate-inputs.ts';
import type { WeightReader } from './types.ts';

const golden = new URL('../../test/golden/methods/quarot/', import.meta.url);
const dtypes: Record<string, StorageType> = { F32: 'f32', F16: 'f16', I8: 'i8', I32: 'i32' };

function readGolden(name: string): (key: string) => Float32Array {
  const file = readFileSync(new URL(`${name}.safetensors`, golden));
  const end = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, end));
  return (key) => {
    const { dtype, data_offsets } = header[key];
    return toF32(dtypes[dtype]!, Uint8Array.from(file.subarray(end + data_offsets[0], end + data_offsets[1])));
  };
}

const llama = readGolden('llama_gqa');
const had12 = readGolden('hadamard')('had12');
const ids = Int32Array.from(llama('ids'));
const spec: ModelSpec = {
  architecture: 'llama',
  hidden: 64,
  intermediate: 96,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  vocab: 96,
  context: 64,
  normEpsilon: 1e-5,
  rope: { dims: 16, base: 10000, scaling: { kind: 'none' } },
  tied: false,
  bias: { q: false, k: false, v: false, o: false, gate: false, up: false, down: false },
  qkNorm: false,
  window: [undefined, undefined],
};

const before: WeightReader = async (name) => llama(`before.${name}`);
/** The gains of the norms are folded into the weights. */
const rotated: WeightReader = async (name) =>
  name.endsWith('norm.weight') ? new Float32Array(spec.hidden).fill(1) : llama(`rotated.${name}`);

async function logits(weights: WeightReader, options: LanguageModelOptions = {}): Promise<Float32Array> {
  const model = await loadLanguageModel(spec, weights, { threads: 1, ...options });
  const found = await model.logits(ids, 2, 12);
  await model.close();
  return found;
}

const furthest = (a: Float32Array, b: Float32Array) => a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i]!)), 0);
const hadamard = (size: number): SquareMatrix => ({ size, values: sylvester(size) });
/** QuaRot multiplies columns, M x; rows are multiplied by the transpose. */
const transposed12: SquareMatrix = {
  size: 12,
  values: Float32Array.from({ length: 144 }, (_, i) => had12[(i % 12) * 12 + Math.floor(i / 12)]! / Math.sqrt(12)),
};
const heads: InputRotation = { left: hadamard(4) };
const down: InputRotation = { left: transposed12, right: hadamard(8) };
const rotations = new Map(
  [0, 1].flatMap((layer) => [
    [`model.layers.${layer}.self_attn.o_proj`, heads] as const,
    [`model.layers.${layer}.mlp.down_proj`, down] as const,
  ]),
);

describe('QuaRot (commit 5008669)', () => {
  test('rotated weights with online Hadamards give the logits of the original', async () => {
    const found = await logits(rotated, { rotations });
    expect(furthest(found, llama('logits.rotated'))).toBeLessThan(1e-4);
    expect(furthest(found, await logits(before))).toBeLessThan(1e-4);
    // Without them, or with the transposed matrix of 12 (which is not symmetric), it is another model.
    expect(furthest(await logits(rotated), found)).toBeGreaterThan(0.1);
    const wrong = { left: { size: 12, values: had12.map((v) => v / Math.sqrt(12)) }, right: hadamard(8) };
    const turned = new Map([...rotations].map(([name, one]) => [name, one === down ? wrong : one]));
    expect(furthest(await logits(rotated, { rotations: turned }), found)).toBeGreaterThan(0.1);
  });

  test('R3 changes no logit, and keys in a cache are rotated ones', async () => {
    const options = { headRotation: hadamard(16) };
    const found = await logits(before, options);
    expect(furthest(found, llama('logits.r3'))).toBeLessThan(1e-4);
    expect(furthest(found, await logits(before))).toBeLessThan(1e-5);
    // Rotated keys in few bits are what a cache that rotates by itself holds.
    const side = { bits: 4, per: 'token', group: 16 } as const;
    const kv: KvScheme = { key: side, value: { ...side, bits: 8 }, residual: 0, sinks: 0, hadamard: false };
    const long = Int32Array.from({ length: 2 * 48 }, (_, i) => (i * 31) % 96);
    const run = async (more: LanguageModelOptions) => {
      const model = await loadLanguageModel(spec, before, { threads: 1, ...more });
      const rows = await model.logits(long, 2, 48);
      await model.close();
      return rows;
    };
    const turned = await run({ ...options, kv });
    const self = await run({ kv: { ...kv, hadamard: true, value: { ...side, bits: 8 } } });
    const plain = await run({ kv });
    expect(furthest(turned, self)).toBeLessThan(0.3 * furthest(plain, self));
  });
});

describe('rotations of inputs', () => {
  test('linears that read one value share the product, and one matrix is one constant', () => {
    const graph = buildModel(spec, { outputs: ['logits'] });
    const one: InputRotation = { left: hadamard(8), right: hadamard(8) };
    const two: InputRotation = { right: hadamard(64) };
    const of = (q: InputRotation, k: InputRotation) =>
      rotateInputs(
        graph,
        new Map([
          ['model.layers.0.self_attn.q_proj', q],
          ['model.layers.0.self_attn.k_proj', k],
        ]),
      );
    const extra = (q: InputRotation, k: InputRotation) => of(q, k).nodes.length - graph.nodes.length;
    expect(extra(one, one)).toBe(5);
    expect(extra(one, two)).toBe(5 + 3);
    const constants = [...of(one, two).constants.keys()].filter((name) => name.startsWith('rotation.'));
    expect(constants).toHaveLength(3);
    expect([...rotateHeads(of(one, two), hadamard(16), 16).constants.keys()].filter((n) => /^rotation/.test(n))).toHaveLength(4);
  });

  test('what does not fit is refused', () => {
    const graph = buildModel(spec, { outputs: ['logits'] });
    const of = (rotation: InputRotation, module = 'model.layers.0.mlp.down_proj') =>
      rotateInputs(graph, new Map([[module, rotation]]));
    expect(() => of(down, 'model.layers.0.mlp.fc1')).toThrow(ModelError);
    expect(() => of({ left: hadamard(4), right: hadamard(8) })).toThrow(/does not fit what it turns/);
    expect(() => of({ right: hadamard(64) })).toThrow(/got 64, limit 96/);
    expect(() => of({ right: { size: 8, values: new Float32Array(3) } })).toThrow('not square');
    expect(() => rotateHeads(graph, hadamard(8), 16)).toThrow('whole heads');
  });
});
