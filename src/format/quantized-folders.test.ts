/** Damaged and hostile folders of the containers gptq and compressed-tensors: one line that says what is wrong, and nothing worse. */
import { describe, expect, test } from 'vitest';
import { writeSafetensors } from '../checkpoint/safetensors/index.ts';
import { FewbitsError, FormatError } from '../errors.ts';
import { MemoryStore, openSource } from '../io/index.ts';
import type { StorageType, Tensor } from '../tensor/index.ts';
import { readField } from './field-ranges.ts';
import { open } from './open.ts';
import { unpackTile } from './packings.ts';

function tensor(type: StorageType, shape: number[], bytes?: Uint8Array): Tensor {
  const size = { i32: 4, f16: 2, i64: 8, i8: 1, bf16: 2 }[type as 'i32']!;
  return { type, shape, bytes: bytes ?? new Uint8Array(shape.reduce((a, b) => a * b, size)) };
}

const int32 = (shape: number[], values: number[]) => tensor('i32', shape, new Uint8Array(Int32Array.from(values).buffer));
const int64 = (...values: number[]) => tensor('i64', [values.length], new Uint8Array(BigInt64Array.from(values, BigInt).buffer));

type Tensors = Record<string, Tensor | undefined>;

/** Opens a folder and unpacks every tile of it. */
async function opened(quantization: object, tensors: Tensors): Promise<string[]> {
  const kept = Object.entries(tensors).flatMap(([name, one]) => (one ? [[name, one] as const] : []));
  const config = new TextEncoder().encode(JSON.stringify({ quantization_config: quantization }));
  const store = new MemoryStore('m', [
    ['model/config.json', config],
    ['model/model.safetensors', writeSafetensors(new Map(kept))],
  ]);
  const model = await open({ store, name: 'model' });
  for (const { stored, name } of model.tensors) {
    if (stored.form !== 'tile') continue;
    const fields: Record<string, Uint8Array> = {};
    for (const [key, field] of Object.entries(stored.fields))
      fields[key] = await readField(await openSource(field.handle), field, 0, stored.rows);
    unpackTile(stored.tile, fields, { name, rows: stored.rows, cols: stored.cols, from: 0, to: stored.rows });
  }
  return model.tensors.map(({ name, type, bytes }) => `${name} ${type} ${bytes}`);
}

async function refusal(quantization: object, tensors: Tensors): Promise<string> {
  const error = await opened(quantization, tensors).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(FewbitsError);
  expect((error as Error).message).not.toMatch(/\n/);
  return `${(error as Error).constructor === FormatError ? '' : `${(error as Error).name}: `}${(error as Error).message}`;
}

describe('gptq', () => {
  const config = { quant_method: 'gptq', bits: 4, group_size: 32, sym: true, desc_act: false, checkpoint_format: 'gptq' };
  const sequential = Array.from({ length: 64 }, (_, i) => i >> 5);
  const good = {
    'a.qweight': tensor('i32', [8, 16]),
    'a.qzeros': int32([2, 2], [0x77777777, 0x77777777, 0x77777777, 0x77777777]),
    'a.scales': tensor('f16', [2, 16]),
    'a.g_idx': int32([64], sequential),
  };

  test('a whole one, with and without g_idx', async () => {
    expect(await opened(config, good)).toEqual(['a.weight int4 g32 sym 848']);
    expect(await opened(config, { ...good, 'a.g_idx': undefined })).toEqual(['a.weight int4 g32 sym 592']);
    expect(await opened({ ...config, desc_act: true }, good)).toEqual(['a.weight int4 g32 sym 848']);
  });

  test.each<[string, object, Tensors, RegExp]>([
    ['0 bits', { bits: 0 }, {}, /^m\/?.*quantization_config: .*at bits/],
    ['33 bits', { bits: 33 }, {}, /quantization_config: .*at bits/],
    ['bits as text', { bits: '4' }, {}, /quantization_config: .*at bits/],
    ['5 bits', { bits: 5 }, {}, /ModelError: .*GPTQ of 5 bits is not read.*2, 3, 4, 8/],
    ['a group of 0', { group_size: 0 }, {}, /not a group size.*at group_size/],
    ['a group of -2', { group_size: -2 }, {}, /not a group size/],
    ['another group', { group_size: 64 }, {}, /shapes differ from the configuration.*groups of 32.*groups of 64/],
    ['other bits', { bits: 8 }, {}, /shapes differ from the configuration.*4 bits.*8 bits/],
    ['a layout of one kernel', { checkpoint_format: 'marlin' }, {}, /ModelError: .*layout of one kernel.*marlin/],
    ['other words', { pack_dtype: 'int16' }, {}, /ModelError: .*other words.*int16/],
    ['no scales', {}, { 'a.scales': undefined }, /a\.scales: a field of a quantized tensor is missing/],
    ['no zeros', {}, { 'a.qzeros': undefined }, /a\.qzeros: a field of a quantized tensor is missing/],
    ['no g_idx', { desc_act: true }, { 'a.g_idx': undefined }, /a\.g_idx: a field of a quantized tensor is missing/],
    ['too few scales', {}, { 'a.scales': tensor('f16', [2, 15]) }, /got f16 \[2,15\], limit f16 \[2,16\]/],
    ['scales of another dtype', {}, { 'a.scales': tensor('bf16', [2, 16]) }, /got bf16 \[2,16\], limit f16/],
    ['zeros of no width', {}, { 'a.qzeros': tensor('i32', [2, 5]) }, /give no number of bits/],
    [
      'zeros of no outputs',
      {},
      { 'a.qweight': tensor('i32', [8, 0]), 'a.qzeros': tensor('i32', [2, 0]) },
      /give no number of bits/,
    ],
    ['no inputs', {}, { 'a.qweight': tensor('i32', [0, 16]) }, /inputs do not divide into groups/],
    ['no groups', {}, { 'a.qzeros': tensor('i32', [0, 2]) }, /inputs do not divide into groups/],
    ['groups that do not divide', {}, { 'a.qzeros': tensor('i32', [3, 2]) }, /64 inputs, 3 groups/],
    ['a flat qweight', {}, { 'a.qweight': tensor('i32', [128]) }, /got i32 \[128\], limit i32 \[n,n\]/],
    ['a short g_idx', {}, { 'a.g_idx': int32([63], sequential.slice(1)) }, /got i32 \[63\], limit i32 \[64\]/],
    [
      'g_idx out of range',
      { desc_act: true },
      { 'a.g_idx': int32([64], [7, ...sequential.slice(1)]) },
      /g_idx names a group.*got 7, limit 0\.\.1/,
    ],
    [
      'g_idx below zero',
      { desc_act: true },
      { 'a.g_idx': int32([64], [-1, ...sequential.slice(1)]) },
      /g_idx names a group.*got -1/,
    ],
    [
      'a group without columns',
      { desc_act: true },
      {
        'a.g_idx': int32(
          [64],
          sequential.map(() => 0),
        ),
      },
      /does not give group 0 its columns.*got 64, limit 32/,
    ],
    ['an order that is denied', {}, { 'a.g_idx': int32([64], [...sequential].reverse()) }, /activation order.*desc_act: false/],
    ['a weight twice', {}, { 'a.weight': tensor('f16', [16, 64]) }, /stored twice/],
  ])('%s', async (_, changes, tensors, message) => {
    expect(await refusal({ ...config, ...changes }, { ...good, ...tensors })).toMatch(message);
  });

  test('zero points that are not in the middle are read as they are', async () => {
    const zeros = int32([2, 2], [0x77777776, 0x77777777, 0x77777777, 0x77777777]);
    expect(await opened(config, { ...good, 'a.qzeros': zeros })).toEqual(['a.weight int4 g32 asym 848']);
  });

  test('but not where the first linear has them there', async () => {
    const zeros = int32([2, 2], [0x77777776, 0x77777777, 0x77777777, 0x77777777]);
    const second = Object.fromEntries(Object.entries(good).map(([name, one]) => [name.replace('a.', 'b.'), one]));
    expect(await refusal(config, { ...good, ...second, 'b.qzeros': zeros })).toMatch(
      /b\.weight: a zero point is not in the middle.*got 7, limit 8.*set sym to false/,
    );
  });
});

describe('compressed-tensors', () => {
  const weights = { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: 32, dynamic: false };
  const config = (changes: object = {}, others: object = {}) => ({
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    config_groups: { group_0: { targets: ['Linear'], weights: { ...weights, ...changes }, input_activations: null } },
    ...others,
  });
  const good = {
    'a.weight_packed': tensor('i32', [16, 8]),
    'a.weight_scale': tensor('bf16', [16, 2]),
    'a.weight_shape': int64(16, 64),
  };

  test('whole ones', async () => {
    expect(await opened(config(), good)).toEqual(['a.weight int4 g32 sym 576']);
    const asymmetric = { ...good, 'a.weight_zero_point': tensor('i32', [2, 2]) };
    expect(await opened(config({ symmetric: false }), asymmetric)).toEqual(['a.weight int4 g32 asym 592']);
    const plain = { 'a.weight': tensor('i8', [16, 64]), 'a.weight_scale': tensor('bf16', [16, 1]) };
    const channel = config({ num_bits: 8, strategy: 'channel', group_size: null }, { format: 'int-quantized' });
    expect(await opened(channel, plain)).toEqual(['a.weight int8 channel sym 1056']);
  });

  test('zero points of rows that do not fill a word', async () => {
    const odd = {
      'a.weight_packed': tensor('i32', [5, 8]),
      'a.weight_scale': tensor('bf16', [5, 2]),
      'a.weight_shape': int64(5, 64),
      'a.weight_zero_point': tensor('i32', [1, 2]),
    };
    expect(await opened(config({ symmetric: false }), odd)).toEqual(['a.weight int4 g32 asym 188']);
  });

  test.each<[string, object, Tensors, RegExp]>([
    ['0 bits', config({ num_bits: 0 }), {}, /quantization_config: .*num_bits/],
    ['33 bits', config({ num_bits: 33 }), {}, /quantization_config: .*num_bits/],
    ['a group of 0', config({ group_size: 0 }), {}, /not a group size.*group_size/],
    ['no groups', { quant_method: 'compressed-tensors' }, {}, /quantization_config: .*config_groups/],
    ['an unknown strategy', config({ strategy: 'block' }), {}, /ModelError: .*block of compressed-tensors/],
    ['an unknown format', config({}, { format: 'constructor' }), {}, /ModelError: .*constructor of compressed-tensors/],
    ['sparsity', config({}, { sparsity_config: { format: 'sparse-24-bitmask' } }), {}, /ModelError: .*sparse-24-bitmask/],
    ['rotations', config({}, { transform_config: { r1: {} } }), {}, /ModelError: .*rotations at run time/],
    ['no scale', config(), { 'a.weight_scale': undefined }, /a\.weight_scale: a field of a quantized tensor is missing/],
    ['no shape', config(), { 'a.weight_shape': undefined }, /a\.weight_shape: a field of a quantized tensor is missing/],
    ['a huge shape', config(), { 'a.weight_shape': int64(2 ** 52, 2 ** 52) }, /not the shape of a matrix/],
    ['a negative shape', config(), { 'a.weight_shape': int64(16, -64) }, /not the shape of a matrix/],
    ['other rows', config(), { 'a.weight_shape': int64(17, 64) }, /got i32 \[16,8\], limit i32 \[17,n\]/],
    ['other columns', config(), { 'a.weight_shape': int64(16, 96) }, /fit no group of the configuration/],
    ['other scales', config(), { 'a.weight_scale': tensor('bf16', [16, 3]) }, /fit no group of the configuration/],
    ['scales of other rows', config(), { 'a.weight_scale': tensor('bf16', [15, 2]) }, /got bf16 \[15,2\]/],
    ['a zero point too many', config(), { 'a.weight_zero_point': tensor('i32', [2, 2]) }, /fit no group of the configuration/],
    ['a zero point too few', config({ symmetric: false }), {}, /fit no group of the configuration/],
    [
      'zero points of other rows',
      config({ symmetric: false }),
      { 'a.weight_zero_point': tensor('i32', [3, 2]) },
      /do not belong to the rows/,
    ],
    ['no g_idx', config({ actorder: 'group' }), {}, /weight_g_idx: a field of a quantized tensor is missing/],
    [
      'g_idx out of range',
      config({ actorder: 'group' }),
      {
        'a.weight_g_idx': int32(
          [64],
          Array.from({ length: 64 }, (_, i) => i),
        ),
      },
      /g_idx names a group that is not there, at column 2/,
    ],
  ])('%s', async (_, quantization, tensors, message) => {
    expect(await refusal(quantization, { ...good, ...tensors })).toMatch(message);
  });
});
