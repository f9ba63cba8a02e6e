import { describe, expect, test } from 'vitest';
import { containers } from '../format/index.ts';
import { llamaSpec, randomTensor, syntheticBag, syntheticModel } from '../format/synthetic.fixture.ts';
import type { Model } from '../format/types.ts';
import { schemeLabel } from '../quantize/scheme.ts';
import { MAX_SURVEY_VALUES, parameters, resolveSchemes } from './resolve.ts';
import { parseRecipe, type RecipeInput } from './schema.ts';

const int4 = {
  kind: 'integer',
  bits: 4,
  symmetric: true,
  granularity: { group: 64 },
  range: 'absmax-half',
  scaleType: 'f16',
} as const;
const q8 = { kind: 'storage', type: 'q8_0' } as const;
const keep = { kind: 'keep' } as const;

function resolved(
  model: Model,
  recipe: Omit<RecipeInput, 'version'>,
  container: keyof typeof containers = 'fewbits',
  imatrix = false,
) {
  const { schemes, warnings } = resolveSchemes(model, parseRecipe({ version: 1, ...recipe }), containers[container], imatrix);
  const byName = new Map(schemes.map(({ tensor, scheme }) => [tensor.name, schemeLabel(scheme)]));
  return { of: (name: string) => byName.get(name), byName, warnings };
}

const q0 = 'model.layers.0.self_attn.q_proj';
const down1 = 'model.layers.1.mlp.down_proj.weight';

describe('which scheme a tensor gets', () => {
  test('a scheme is for linear layers; embedding, output, norms and biases stay', async () => {
    const { of, byName } = resolved(await syntheticModel(), { scheme: int4 });
    expect(of(`${q0}.weight`)).toBe('int4 g64 sym');
    expect(of(`${q0}.bias`)).toBe('keep');
    expect(['model.embed_tokens.weight', 'lm_head.weight', 'model.norm.weight'].map(of)).toEqual(['keep', 'keep', 'keep']);
    expect([...byName.values()].filter((label) => label !== 'keep')).toHaveLength(14);
  });

  test('pure: embedding and output too', async () => {
    const { of } = resolved(await syntheticModel(), { scheme: q8, pure: true });
    expect(['model.embed_tokens.weight', 'lm_head.weight', 'model.norm.weight'].map(of)).toEqual(['q8_0', 'q8_0', 'keep']);
  });

  test('rules: by role, group, name and layers; the last one decides, keep decides over all', async () => {
    const { of } = resolved(await syntheticModel(), {
      scheme: int4,
      rules: [
        { role: 'mlp', scheme: q8 },
        { role: ['down'], layers: [1, 1], scheme: { kind: 'storage', type: 'q6_k' } },
        { name: ['*.1.*.gate_proj.weight', 'nothing*'], scheme: { ...int4, bits: 8 } },
        { role: 'output', scheme: q8 },
        { role: 'v', scheme: keep },
      ],
      keep: ['*layers.0.mlp.up*'],
    });
    expect(of('model.layers.0.mlp.down_proj.weight')).toBe('q8_0');
    expect(of(down1)).toBe('q6_k');
    expect(of('model.layers.1.mlp.gate_proj.weight')).toBe('int8 g64 sym');
    expect(of('model.layers.0.mlp.up_proj.weight')).toBe('keep');
    expect(of('model.layers.1.mlp.up_proj.weight')).toBe('q8_0');
    expect(of('lm_head.weight')).toBe('q8_0');
    expect(of('model.layers.0.self_attn.v_proj.weight')).toBe('keep');
    expect(of(`${q0}.weight`)).toBe('int4 g64 sym');
  });

  test('a rule that names a norm or a bias leaves it as it is', async () => {
    const { of } = resolved(await syntheticModel(), { rules: [{ name: 'model.*', scheme: q8 }] });
    expect(of('model.norm.weight')).toBe('keep');
    expect(of(`${q0}.bias`)).toBe('keep');
    expect(of('model.embed_tokens.weight')).toBe('q8_0');
  });

  test('a GGUF file type mixes types as llama.cpp does', async () => {
    const { of } = resolved(await syntheticModel(), { fileType: 'q4_k_m', keep: ['*.k_proj.weight'] }, 'gguf');
    expect(of('lm_head.weight')).toBe('q6_k');
    expect(of(down1)).toBe('q6_k');
    expect(of(`${q0}.weight`)).toBe('q4_k');
    expect(of('model.layers.0.self_attn.k_proj.weight')).toBe('keep');
    expect(of('model.norm.weight')).toBe('f32');
  });

  test('in a bag every matrix of numbers counts', async () => {
    const bag = await syntheticBag([
      ['a', randomTensor([4, 64], 1)],
      ['some_norm', randomTensor([4, 64], 2)],
      ['row', randomTensor([1, 64], 3)],
      ['ids', { type: 'i64', shape: [2, 2], bytes: new Uint8Array(32) }],
    ]);
    expect([...resolved(bag, { scheme: q8 }).byName]).toEqual([
      ['ids', 'keep'],
      ['a', 'q8_0'],
      ['row', 'keep'],
      ['some_norm', 'q8_0'],
    ]);
    expect(parameters(bag)).toBe(256 + 256 + 64 + 4);
  });
});

describe('what does not fit', () => {
  const narrow = { ...llamaSpec, hidden: 96, heads: 2, kvHeads: 1, headDim: 48, rope: { ...llamaSpec.rope, dims: 48 } };

  test('rows that are no whole blocks fall back, and it is said', async () => {
    const { of, warnings } = resolved(await syntheticModel(narrow), { fileType: 'q4_k_m' }, 'gguf');
    expect(of(`${q0}.weight`)).toBe('q5_0');
    expect(of(down1)).toBe('q6_k');
    expect(warnings).toContain(`${q0}.weight: q4_k -> q5_0: rows of 96 values do not fit q4_k's blocks`);
    const single = resolved(await syntheticModel(narrow), { scheme: { kind: 'storage', type: 'q2_k' } });
    expect(single.of(`${q0}.weight`)).toBe('q4_0');
    expect(single.warnings).toHaveLength(12); // all but the two down projections
  });

  test.each<[string, Omit<RecipeInput, 'version'>, keyof typeof containers, RegExp]>([
    ['groups', { scheme: int4 }, 'fewbits', /do not divide.*96 columns in groups of 64.*--group 32 or 16 or -1/],
    [
      'a rule without a tensor',
      { rules: [{ role: 'rope', scheme: q8 }] },
      'fewbits',
      /a rule matches no weight matrix: .*"rope".*names look like/,
    ],
    ['a keep without a tensor', { keep: ['nothing'] }, 'fewbits', /--keep nothing matches no tensor/],
    ['layers beyond the model', { rules: [{ layers: [2, 9], scheme: q8 }] }, 'fewbits', /matches no weight matrix/],
    ['integers in GGUF', { scheme: { ...int4, granularity: 'channel' } }, 'gguf', /gguf cannot hold int4 channel sym: its grids/],
    ['blocks in safetensors', { scheme: q8 }, 'safetensors', /q8_0 is quantized, and plain safetensors hold floats/],
    ['a type without encoder', { scheme: { kind: 'storage', type: 'iq2_xxs' } }, 'gguf', /no encoder for this type.*|fit/],
    ['an integer dtype', { scheme: { kind: 'storage', type: 'i8' } }, 'gguf', /no encoder for this type.*got i8.*q4_k/],
    ['a mixture that needs an imatrix', { fileType: 'q2_k_s' }, 'gguf', /needs an importance matrix/],
    ['no such file type', { fileType: 'q9' }, 'gguf', /no such GGUF file type/],
  ])('%s: refused before anything is written', async (_, recipe, container, message) => {
    const model = await syntheticModel(narrow);
    expect(() => resolved(model, recipe, container)).toThrow(message);
  });

  const int8 = { ...int4, bits: 8, granularity: 'channel' } as const;
  const input = { bits: 8, symmetric: true, dynamic: true, per: 'token' } as const;
  test.each<[string, NonNullable<RecipeInput['scheme']>, RegExp]>([
    ['asymmetric, absmax', { ...int4, symmetric: false }, /the range absmax-half is symmetric, the scheme is asymmetric/],
    [
      'symmetric, minmax',
      { ...int4, range: 'minmax' },
      /the range minmax is asymmetric, the scheme is symmetric; choose absmax-narrow, absmax-full, absmax-half, absmax-gptq, percentile, mse, imatrix, output-mse, sqnr, entropy, cross-entropy$/,
    ],
    [
      'a search from the base of the other symmetry',
      { ...int4, range: 'mse', rangeOptions: { base: 'minmax' } },
      /minmax is asymmetric, the scheme is symmetric; choose absmax-narrow, absmax-full, absmax-half, absmax-gptq$/,
    ],
    ['symmetric, with a zero', { ...int4, zero: 'float' }, /a symmetric scheme has no zero.*got float/],
    ['symmetric, hqq', { ...int4, range: 'hqq' }, /the range hqq is asymmetric/],
    [
      'parameters of another range',
      { ...int4, range: 'percentile', rangeOptions: { percentile: 99, steps: 3, power: 9 } },
      /percentile does not read rangeOptions.steps, rangeOptions.power .*it reads percentile, base/,
    ],
    ['parameters of none', { ...int4, rangeOptions: { steps: 3 } }, /does not read rangeOptions.steps .*leave rangeOptions out/],
    ['symmetric integers of one bit', { ...int4, bits: 1 }, /symmetric integer of 1 bit.*--method binary/],
    ['a float input of other bits', { ...int8, input: { ...input, float: 'e4m3', bits: 4 } }, /inputs in e4m3 have 8 bits/],
    ['groups that do not fill an input', { ...int8, input: { ...input, per: { group: 7 } } }, /groups do not fill the input/],
    ['outliers of a tensor', { ...int8, input: { ...input, per: 'tensor', threshold: 6 } }, /beside a scale for each token/],
  ])('%s: refused before a worker sees it', async (_, scheme, message) => {
    const model = await syntheticModel();
    expect(() => resolved(model, { scheme: { ...scheme } })).toThrow(message);
    expect(() => resolved(model, { rules: [{ role: 'down', scheme }] })).toThrow(/layers.0.mlp.down_proj/);
  });

  test('what belongs together is taken', async () => {
    const model = await syntheticModel();
    const { symmetric: _, ...grid } = int4;
    for (const scheme of [
      { ...int4, range: 'mse', rangeOptions: { steps: 3, power: 2.4, base: 'absmax-full' } },
      { ...grid, symmetric: false, range: 'hqq', rangeOptions: { steps: 3, power: 0.7, base: 'minmax' }, zero: 'float' },
      { ...grid, symmetric: false, range: 'minmax', bits: 1 },
      { ...int4, input: { ...input, threshold: 6 } },
      { ...int4, input: { ...input, float: 'e4m3', per: { group: 64 } } },
    ] as const)
      expect(resolved(model, { scheme }).of(`${q0}.weight`)).toMatch(/^int[14] g64/);
  });

  test('a model that stays keeps the inputs that it can have', async () => {
    const model = await syntheticModel();
    const tensors = model.tensors.map((tensor) => ({ ...tensor, input: { ...input, per: { group: 7 } } }));
    expect(() => resolved({ ...model, tensors }, {})).toThrow(/groups do not fill the input of a linear/);
  });

  test('a file type for a bag', async () => {
    const bag = await syntheticBag([['a', randomTensor([4, 64], 1)]]);
    expect(() => resolved(bag, { fileType: 'q4_k_m' }, 'gguf')).toThrow(/bag of tensors without an architecture/);
  });

  test('a percentile of a tensor that is too large for one survey', async () => {
    const model = await syntheticModel();
    const large = {
      ...model,
      tensors: model.tensors.map((t) => ({ ...t, shape: t.role === 'q' ? [MAX_SURVEY_VALUES / 256 + 1, 256] : t.shape })),
    };
    for (const range of ['percentile', 'mse'] as const) {
      const scheme = { ...int4, range, granularity: 'tensor' } as const;
      expect(() => resolved(large, { scheme })).toThrow(/int4 tensor sym needs all values of a tensor at once.*limit 67108864/);
      expect(resolved(model, { scheme }).of(`${q0}.weight`)).toBe('int4 tensor sym');
    }
    expect(resolved(large, { scheme: { ...int4, granularity: 'tensor' } }).of(`${q0}.weight`)).toBe('int4 tensor sym');
  });
});
