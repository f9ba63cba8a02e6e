import { describe, expect, test } from 'vitest';
import { type QuantizeOptions, recipeFromOptions } from './options.ts';

const storage = (type: string) => ({ kind: 'storage', type });
const integer = (changes = {}) => ({
  kind: 'integer',
  bits: 4,
  symmetric: true,
  granularity: { group: 128 },
  range: 'absmax-half',
  scaleType: 'f16',
  ...changes,
});
const ofGptq = {
  range: 'absmax-gptq',
  signed: false,
  emptyGroup: 'unit',
  arithmetic: { compute: 'f32', scale: 'beforeCast' },
};
const asymmetric = { symmetric: false, range: 'minmax' };
const ours = {
  version: 1,
  container: 'fewbits',
  scheme: integer({ ...asymmetric, bits: 3, granularity: { group: 64 }, zero: 'float' }),
};

describe('options to recipe', () => {
  test.each<[string, QuantizeOptions, 'model' | 'bag', string, object]>([
    ['nothing', {}, 'model', '', { container: 'fewbits', scheme: integer() }],
    ['bits', { bits: 3 }, 'model', 'out', { container: 'fewbits', scheme: integer({ bits: 3 }) }],
    ['a row', { group: -1 }, 'model', '', { scheme: integer({ granularity: 'channel' }) }],
    ['asymmetric', { symmetric: false }, 'model', '', { scheme: integer(asymmetric) }],
    ['a range decides the symmetry', { range: 'minmax' }, 'model', '', { scheme: integer(asymmetric) }],
    ['absmax is the container’s own', { range: 'absmax' }, 'model', '', { scheme: integer() }],
    ['mse', { range: 'mse', symmetric: false }, 'model', '', { scheme: integer({ symmetric: false, range: 'mse' }) }],
    ['gptq by custom', { to: 'gptq' }, 'model', '', { container: 'gptq', scheme: integer(ofGptq) }],
    ['gptq with a range', { to: 'gptq', range: 'mse' }, 'model', '', { scheme: integer({ ...ofGptq, range: 'mse' }) }],
    ['gptq, absmax is its own', { to: 'gptq', range: 'absmax' }, 'model', '', { scheme: integer(ofGptq) }],
    ['a recipe keeps its scheme', { to: 'gptq', recipe: ours, bits: 4 }, 'model', '', { scheme: { ...ours.scheme, bits: 4 } }],
    [
      'compressed-tensors computes in the dtype of the weight',
      { to: 'compressed-tensors', symmetric: false },
      'model',
      '',
      {
        scheme: integer({
          ...asymmetric,
          signed: true,
          scaleType: 'f32',
          emptyGroup: 'epsilon',
          arithmetic: { compute: 'f32', zero: 'beforeRounding' },
        }),
      },
    ],
    [
      'W8A8',
      { to: 'compressed-tensors', activationBits: 8 },
      'model',
      '',
      {
        scheme: {
          bits: 8,
          granularity: 'channel',
          symmetric: true,
          input: { bits: 8, symmetric: true, dynamic: true, per: 'token' },
        },
      },
    ],
    ['a file type', { type: 'Q4_K_M' }, 'model', '', { container: 'gguf', fileType: 'q4_k_m' }],
    ['both kinds of name, model', { type: 'q4_0' }, 'model', '', { container: 'gguf', fileType: 'q4_0' }],
    ['both kinds of name, bag', { type: 'q4_0' }, 'bag', '', { container: 'gguf', scheme: storage('q4_0') }],
    ['a tensor type', { type: 'q4_k' }, 'model', '', { scheme: storage('q4_k'), pure: true }],
    ['gguf by extension', { bits: 8 }, 'model', 'a.GGUF', { container: 'gguf', fileType: 'q8_0' }],
    ['gguf by extension, default', {}, 'model', 'a.gguf', { container: 'gguf', fileType: 'q4_k_m' }],
    ['gguf in groups of 32', { group: 32, bits: 5, to: 'gguf' }, 'model', '', { fileType: 'q5_0' }],
    ['gguf asymmetric', { symmetric: false, to: 'gguf' }, 'model', '', { fileType: 'q4_1' }],
    ['gguf bag of 4 bits', { bits: 4, to: 'gguf' }, 'bag', '', { scheme: storage('q4_k') }],
    ['gguf bag of 5 bits', { bits: 5, to: 'gguf' }, 'bag', '', { scheme: storage('q5_k') }],
    ['gguf bag of 3 bits', { bits: 3, to: 'gguf' }, 'bag', '', { scheme: storage('q3_k') }],
    ['keep adds up', { keep: ['b'], recipe: { version: 1, keep: ['a'] } }, 'model', '', { keep: ['a', 'b'], scheme: integer() }],
    ['the recipe as it is', { recipe: ours }, 'model', '', ours],
    ['bits over a recipe', { recipe: ours, bits: 5 }, 'model', '', { scheme: { ...ours.scheme, bits: 5 } }],
    ['group over a recipe', { recipe: ours, group: -1 }, 'model', '', { scheme: { ...ours.scheme, granularity: 'channel' } }],
    [
      'symmetry over a recipe brings its range',
      { recipe: ours, symmetric: true },
      'model',
      '',
      { scheme: integer({ bits: 3, granularity: { group: 64 } }) },
    ],
    ['a method starts anew', { recipe: ours, method: 'rtn' }, 'model', '', { scheme: integer() }],
    ['type over a recipe', { recipe: ours, type: 'q6_k', to: 'gguf' }, 'model', '', { fileType: 'q6_k' }],
    [
      'rules alone stay alone',
      { recipe: { version: 1, rules: [{ role: 'q', scheme: integer() }] } },
      'model',
      '',
      { container: 'fewbits' },
    ],
  ])('%s', (_, options, subject, output, expected) => {
    const recipe = recipeFromOptions(options, subject, output);
    expect(recipe).toMatchObject(expected);
    if (!('scheme' in expected)) expect(recipe.scheme).toBeUndefined();
  });

  test.each<[string, QuantizeOptions, 'model' | 'bag', RegExp]>([
    ['type and bits', { type: 'q4_0', bits: 4 }, 'model', /--type.*one or the other/],
    ['a mixture for a bag', { type: 'q4_k_m' }, 'bag', /bag of tensors has no roles/],
    ['no such type', { type: 'q9_9' }, 'model', /no such GGUF file type/],
    ['no such container', { to: 'zip' }, 'model', /no such container.*gguf, fewbits, safetensors/],
    ['no such container: a prototype', { to: 'constructor' }, 'model', /no such container/],
    ['no such method', { method: 'toString' }, 'model', /no such method/],
    ['no such range', { range: 'best' }, 'model', /no such range/],
    ['no such encoder', { encoder: 'fast' }, 'model', /no such encoder/],
    ['bits', { bits: 0 }, 'model', /from 1 to 8/],
    ['bits in between', { bits: 2.5 }, 'model', /from 1 to 8/],
    ['group', { group: 0 }, 'model', /positive number of inputs/],
    ['group for gguf', { group: -7, to: 'gguf' }, 'model', /positive number of inputs/],
    ['symmetric minmax', { range: 'minmax', symmetric: true }, 'model', /range minmax is asymmetric/],
    ['asymmetric absmax', { range: 'absmax', symmetric: false }, 'model', /range absmax-half is symmetric/],
    ['gguf groups of 64', { group: 64, to: 'gguf' }, 'model', /GGUF has no type with this grid/],
    ['gguf of 7 bits', { bits: 7, to: 'gguf' }, 'model', /GGUF has no type with this grid/],
    ['gguf with a range', { range: 'mse', to: 'gguf' }, 'model', /choose their own ranges/],
    ['activations in gguf', { activationBits: 8, to: 'gguf' }, 'model', /GGUF does not say how activations are quantized/],
    ['activations of one bit', { activationBits: 1 }, 'model', /activations have 2 to 8 bits/],
    ['integers in plain safetensors', { bits: 4, to: 'safetensors' }, 'model', /hold no quantized weights/],
  ])('refuses %s', (_, options, subject, message) => {
    expect(() => recipeFromOptions(options, subject)).toThrow(message);
  });
});

describe('refinement', () => {
  const refineOf = (options: QuantizeOptions) => recipeFromOptions({ method: 'gptq', ...options }, 'model').rounding?.refine;
  test.each<[string, QuantizeOptions, number]>([
    ['by itself', {}, 2],
    ['as asked', { refine: 3 }, 3],
    ['none for groups in activation order', { actOrder: true }, 0],
    ['none for those of our container', { actOrder: true, to: 'fewbits' }, 0],
    ['none asked, none given', { actOrder: true, refine: 0 }, 0],
    ['rows are in no order', { actOrder: true, group: -1, refine: 3 }, 3],
    ['groups stay without a g_idx', { actOrder: true, to: 'compressed-tensors', refine: 3 }, 3],
    ['nor do the types of GGUF', { actOrder: true, type: 'q4_k_m', refine: 3 }, 3],
  ])('%s', (_, options, rounds) => {
    expect(refineOf(options)).toBe(rounds);
  });

  test('of a recipe ends where an option orders its groups', () => {
    const recipe = { ...ours, rounding: { kind: 'gptq', refine: 4 } };
    expect(recipeFromOptions({ recipe }, 'model').rounding?.refine).toBe(4);
    expect(recipeFromOptions({ recipe, actOrder: true }, 'model').rounding?.refine).toBe(0);
  });

  test('is refused where groups are no runs of columns', () => {
    for (const to of ['gptq', 'fewbits']) {
      const options = { to, actOrder: true, refine: 1 };
      expect(() => refineOf(options)).toThrow(/--refine.*no such runs.*leave out --refine or --act-order/);
    }
  });
});
