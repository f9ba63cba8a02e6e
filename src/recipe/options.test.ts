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
const feedback = { kind: 'gptq', damp: 0.01, order: 'activation', groups: 'static', block: 128, refine: 2 };
const searched = (base: string) => ({ range: 'mse', rangeOptions: { steps: 40, base } });
const rounded = { version: 1, rounding: { kind: 'gptq', order: 'natural', refine: 0 } };
const ours = {
  version: 1,
  container: 'fewbits',
  scheme: integer({ ...asymmetric, bits: 3, granularity: { group: 64 }, zero: 'float' }),
};

describe('options to recipe', () => {
  test.each([{ to: 'gptq' }, { to: 'compressed-tensors' }, { to: 'gguf' }, { to: 'gguf', type: 'q4_k' }])(
    'sinq is folded where a container has no place for factors of columns: $to',
    (options) => {
      const recipe = recipeFromOptions({ method: 'sinq', ...options }, 'model');
      expect(recipe.transforms).toEqual([{ kind: 'sinq', folds: 'all' }]);
      expect(JSON.stringify(recipe.scheme ?? {})).not.toContain('balance');
      expect(recipeFromOptions({ method: 'sinq' }, 'model').transforms).toBeUndefined();
    },
  );

  test.each<[string, QuantizeOptions, 'model' | 'bag', string, object]>([
    ['nothing', {}, 'model', '', { container: 'fewbits', scheme: integer() }],
    [
      'sinq beside its factors',
      { method: 'sinq' },
      'model',
      '',
      { scheme: integer({ ...asymmetric, granularity: { group: 64 }, balance: 'sinkhorn' }) },
    ],
    ['bits', { bits: 3 }, 'model', 'out', { container: 'fewbits', scheme: integer({ bits: 3 }) }],
    [
      'a text for a method that learns from one',
      { method: 'zeroquant', text: true },
      'model',
      '',
      { scheme: { bits: 8 }, rounding: feedback, calibration: { order: 'sequential', correct: true } },
    ],
    [
      'its order of calibration can be another',
      { method: 'zeroquant', text: true, calibration: 'block' },
      'model',
      '',
      { scheme: { bits: 8 }, calibration: { order: 'block' } },
    ],
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
    [
      'a method’s own range stands before the custom of the container',
      { method: 'llm-int8', to: 'compressed-tensors' },
      'model',
      '',
      { scheme: { range: 'absmax-narrow', emptyGroup: 'epsilon', input: { threshold: 6 } } },
    ],
    [
      'HQQ’s too',
      { method: 'hqq', to: 'gptq' },
      'model',
      '',
      { scheme: { range: 'hqq', zero: 'float', signed: false, emptyGroup: 'unit' } },
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
    ['mx in gguf', { method: 'mx', to: 'gguf' }, 'model', '', { scheme: storage('mxfp4'), encoder: 'search', pure: false }],
    [
      'mx in gguf, ggml’s own bytes',
      { method: 'mx', encoder: 'exact' },
      'model',
      'a.gguf',
      { scheme: storage('mxfp4'), encoder: 'exact' },
    ],
    ['ternary in gguf', { method: 'ternary', to: 'gguf' }, 'model', '', { scheme: storage('q2_0'), encoder: 'search' }],
    ['ternary by 256', { method: 'ternary', group: 256, to: 'gguf' }, 'bag', '', { scheme: storage('tq2_0'), encoder: 'search' }],
    ['its extreme', { method: 'ternary', range: 'absmax', to: 'gguf' }, 'bag', '', { scheme: storage('q2_0'), encoder: 'exact' }],
    ['binary in gguf', { method: 'binary', group: 128, to: 'gguf' }, 'model', '', { scheme: storage('q1_0') }],
    ['a type of floats, model', { type: 'MXFP4' }, 'model', '', { container: 'gguf', scheme: storage('mxfp4'), pure: true }],
    ['NVFP4 is no mixture', { type: 'nvfp4' }, 'model', '', { container: 'gguf', scheme: storage('nvfp4'), pure: true }],
    ['experts in MXFP4', { type: 'mxfp4_moe' }, 'model', '', { container: 'gguf', fileType: 'mxfp4_moe' }],
    ['trits, model', { type: 'tq1_0' }, 'model', '', { container: 'gguf', fileType: 'tq1_0' }],
    ['trits, bag', { type: 'tq2_0' }, 'bag', '', { container: 'gguf', scheme: storage('tq2_0') }],
    ['type over a recipe', { recipe: ours, type: 'q6_k', to: 'gguf' }, 'model', '', { fileType: 'q6_k' }],
    [
      'GPTQ: its own container, limits searched from that container’s formula',
      { method: 'gptq' },
      'model',
      '',
      { container: 'gptq', rounding: feedback, scheme: integer({ ...ofGptq, ...searched('absmax-gptq') }) },
    ],
    ['GPTQ, asymmetric', { method: 'gptq', symmetric: false }, 'model', '', { scheme: searched('minmax') }],
    ['GPTQ in fewbits', { method: 'gptq', to: 'fewbits' }, 'model', '', { scheme: searched('absmax-half') }],
    [
      'GPTQ in compressed-tensors',
      { method: 'gptq', to: 'compressed-tensors' },
      'model',
      '',
      { rounding: feedback, scheme: { ...searched('absmax-half'), emptyGroup: 'epsilon' } },
    ],
    ['GPTQ with a range', { method: 'gptq', range: 'absmax' }, 'model', '', { scheme: integer(ofGptq) }],
    ['GPTQ of a file type', { method: 'gptq', type: 'q4_k_m' }, 'model', '', { fileType: 'q4_k_m', rounding: feedback }],
    ['GPTQ of a tensor type', { method: 'gptq', type: 'q4_0' }, 'bag', '', { scheme: storage('q4_0'), rounding: feedback }],
    ['GPTQ by extension', { method: 'gptq' }, 'model', 'a.gguf', { fileType: 'q4_k_m', rounding: feedback }],
    [
      'damp and order',
      { method: 'gptq', damp: 0.05, actOrder: true },
      'model',
      '',
      { scheme: searched('absmax-gptq'), rounding: { ...feedback, damp: 0.05, groups: 'dynamic', refine: 0 } },
    ],
    [
      'damp and order over a recipe',
      { recipe: { ...rounded, scheme: integer() }, damp: 0.1, actOrder: true },
      'model',
      '',
      { scheme: integer(), rounding: { ...feedback, damp: 0.1, groups: 'dynamic', refine: 0 } },
    ],
    [
      'a method takes the place of a recipe’s rounding',
      { recipe: rounded, method: 'gptq' },
      'model',
      '',
      { scheme: searched('absmax-gptq'), rounding: feedback },
    ],
    [
      'calibration',
      { method: 'gptq', calibration: 'sequential', samples: 8, context: 64, seed: 3 },
      'model',
      '',
      {
        scheme: {},
        calibration: { order: 'sequential', correct: true, samples: 8, context: 64, seed: 3, chatTemplate: false },
      },
    ],
    ['layers', { method: 'gptq', layers: [0, 1] }, 'model', '', { scheme: {}, layers: [0, 1] }],
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
    [
      'outliers of a type',
      { type: 'q8_0', threshold: 5 },
      'model',
      /--threshold: this changes nothing with --type q8_0.*llm-int8/,
    ],
    ['outliers of a recipe', { recipe: ours, threshold: 5 }, 'model', /--threshold: this changes nothing without --method/],
    ['outliers of a budget', { fit: true, threshold: 5 }, 'model', /--threshold: this changes nothing/],
    ['alpha of a type', { type: 'q8_0', alpha: 0.5 }, 'model', /--alpha.*--method smoothquant/],
    ['alpha of another method', { method: 'gptq', type: 'q8_0', alpha: 0.5 }, 'model', /--alpha.*--method smoothquant/],
    ['one symmetric bit', { bits: 1 }, 'model', /rtn has no such width.*--method binary/],
    ['no such encoder', { encoder: 'fast' }, 'model', /no such encoder.*exact or search/],
    ['bits', { bits: 0 }, 'model', /no such width/],
    ['bits in between', { bits: 2.5 }, 'model', /no such width/],
    ['group', { group: 0 }, 'model', /positive number of inputs/],
    ['group for gguf', { group: -7, to: 'gguf' }, 'model', /positive number of inputs/],
    ['symmetric minmax', { range: 'minmax', symmetric: true }, 'model', /range minmax is asymmetric/],
    ['asymmetric absmax', { range: 'absmax', symmetric: false }, 'model', /range absmax-half is symmetric/],
    ['gguf groups of 64', { group: 64, to: 'gguf' }, 'model', /GGUF has no type with this grid/],
    ['MXFP8 in gguf', { method: 'mx', bits: 8, to: 'gguf' }, 'model', /GGUF has MXFP4 alone.*--bits 4/],
    ['nvfp4 in gguf', { method: 'nvfp4', to: 'gguf' }, 'model', /no scale for the whole tensor.*--type nvfp4 --encoder search/],
    [
      'ternary by 32 in gguf',
      { method: 'ternary', group: 32, to: 'gguf' },
      'model',
      /--group 64 \(q2_0\) or --group 256 \(tq2_0\)/,
    ],
    ['binary by 64 in gguf', { method: 'binary', to: 'gguf' }, 'model', /--group 128 \(q1_0\)/],
    ['extreme signs', { method: 'binary', group: 128, range: 'absmax', to: 'gguf' }, 'model', /mean magnitude.*leave --range/],
    ['mx with 8-bit inputs in gguf', { method: 'mx', activationBits: 8, to: 'gguf' }, 'model', /GGUF does not say how activ/],
    ['nf4 in gguf', { method: 'nf4', to: 'gguf' }, 'model', /GGUF has no type for what nf4 makes/],
    ['gguf of 7 bits', { bits: 7, to: 'gguf' }, 'model', /GGUF has no type with this grid/],
    ['gguf with a range', { range: 'mse', to: 'gguf' }, 'model', /choose their own ranges/],
    ['activations in gguf', { activationBits: 8, to: 'gguf' }, 'model', /GGUF does not say how activations are quantized/],
    ['activations of one bit', { activationBits: 1 }, 'model', /activations have 2 to 8 bits/],
    [
      'GPTQ of a type and of bits',
      { method: 'gptq', type: 'q4_0', bits: 4 },
      'model',
      /and --bits describes another one .*one or the other/,
    ],
    ['rounding to nearest of a type', { method: 'rtn', type: 'q4_0' }, 'model', /and --method rtn describes another one/],
    [
      'GPTQ of a type with zero points',
      { method: 'gptq', type: 'q4_k_m', symmetric: false, group: 32 },
      'model',
      /and --group, --asymmetric describe another one/,
    ],
    ['damp of nothing', { damp: 0.1 }, 'model', /--damp: this belongs to GPTQ.*--method gptq/],
    ['damp of rounding to nearest', { method: 'rtn', recipe: rounded, damp: 0.1 }, 'model', /--damp: this belongs to GPTQ/],
    ['an order of nothing', { actOrder: true }, 'model', /--act-order: this belongs to GPTQ/],
    [
      'groups in activation order where none are stored',
      { method: 'gptq', actOrder: true, to: 'compressed-tensors' },
      'model',
      /--act-order: compressed-tensors stores no g_idx.*leave it out, or use --to fewbits or --to gptq/,
    ],
    [
      'them in the types of GGUF',
      { method: 'gptq', actOrder: true, type: 'q4_k_m' },
      'model',
      /--act-order: gguf stores no g_idx/,
    ],
    ['an order of layers that is none', { method: 'gptq', calibration: 'random' }, 'model', /parallel, block, sequential/],
    ['integers in plain safetensors', { bits: 4, to: 'safetensors' }, 'model', /hold no quantized weights/],
  ])('refuses %s', (_, options, subject, message) => {
    expect(() => recipeFromOptions(options, subject)).toThrow(message);
  });
});

test('a range over a recipe leaves the parameters of the other behind', () => {
  const rangeOptions = { steps: 9, base: 'absmax-full' };
  const recipe = { ...ours, scheme: integer({ range: 'mse', rangeOptions }) };
  expect(recipeFromOptions({ recipe, bits: 5 }, 'model').scheme).toMatchObject({ range: 'mse', rangeOptions });
  expect(recipeFromOptions({ recipe, range: 'percentile' }, 'model').scheme).toEqual(integer({ range: 'percentile' }));
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
