import { describe, expect, test } from 'vitest';
import { writeSafetensors } from '../../checkpoint/safetensors/index.ts';
import { FormatError } from '../../errors.ts';
import { MemoryStore } from '../../io/index.ts';
import type { StorageType, Tensor } from '../../tensor/index.ts';
import { open } from '../open.ts';

const int4 = { kind: 'integer', bits: 4, signed: true };
const tile = { grid: int4, scale: { stored: 'f16', group: 32 } };
const described = { shape: [2, 64], form: 'tile', tile };

function tensor(type: StorageType, shape: number[], bytes: number): Tensor {
  return { type, shape, bytes: new Uint8Array(bytes) };
}

const codes = tensor('u8', [2, 32], 64);
const scale = tensor('f16', [2, 2], 8);

async function opened(document: unknown, tensors: Record<string, Tensor>): Promise<string[]> {
  const text = typeof document === 'string' ? document : JSON.stringify(document);
  const file = writeSafetensors(new Map(Object.entries(tensors)), new Map([['fewbits', text]]));
  const model = await open({ store: new MemoryStore('memory', [['a.safetensors', file]]), name: 'a.safetensors' });
  return model.tensors.map(({ name, type, bytes }) => `${name} ${type} ${bytes}`);
}

const input = { bits: 8, symmetric: true, dynamic: true, per: 'token' };
const books = (dim: number) => ({ kind: 'books', bits: 8, dim, per: 'tensor', stored: 'f32' });
const row = { stored: 'f16', group: 0 };
const one = (changes: object) => ({ version: 1, tensors: { w: { ...described, ...changes } } });

describe('the descriptor and the fields', () => {
  test('belong together', async () => {
    expect(await opened(one({}), { 'w.codes': codes, 'w.scale': scale, b: tensor('f32', [3], 12) })).toEqual([
      'b f32 12',
      'w int4 g32 sym 72',
    ]);
    const blocks = { version: 1, tensors: { w: { shape: [2, 64], form: 'blocks', type: 'q4_0' } } };
    expect(await opened(blocks, { 'w.blocks': tensor('u8', [2, 36], 72) })).toEqual(['w q4_0 72']);
  });

  test.each<[string, unknown, Record<string, Tensor>, RegExp]>([
    ['no JSON', '{', {}, /metadata fewbits is not JSON/],
    ['a later version', { version: 2, tensors: {} }, {}, /at version.*later version/],
    ['nine bits', one({ tile: { ...tile, grid: { ...int4, bits: 9 } } }), {}, /bits/],
    ['an empty shape', one({ shape: [] }), {}, /shape/],
    ['a huge shape', one({ shape: [2 ** 40, 2 ** 40] }), { 'w.codes': codes, 'w.scale': scale }, /not what its descriptor says/],
    ['a missing field', one({}), { 'w.codes': codes }, /w.scale: a field of a quantized tensor is missing/],
    [
      'short codes',
      one({}),
      { 'w.codes': tensor('u8', [2, 31], 62), 'w.scale': scale },
      /got 62 bytes of u8, limit 64 bytes of u8/,
    ],
    ['scales of another dtype', one({}), { 'w.codes': codes, 'w.scale': tensor('bf16', [2, 2], 8) }, /got 8 bytes of bf16/],
    ['groups that do not divide', one({ tile: { ...tile, scale: { stored: 'f16', group: 48 } } }), {}, /groups of 48/],
    [
      'zeros that are not there',
      one({ tile: { ...tile, zero: { kind: 'float', stored: 'f16', group: 32 } } }),
      { 'w.codes': codes, 'w.scale': scale },
      /w.zero/,
    ],
    ['pairs of pairs of values and one more', one({ tile: { ...tile, grid: books(3) } }), {}, /at tensors.w.tile.grid.dim/],
    [
      'rows that end within a code',
      { version: 1, tensors: { w: { ...described, shape: [2, 62], tile: { ...tile, grid: books(4), scale: row } } } },
      {},
      /w: .*rows of 62 values.*codes of 4 values/,
    ],
    [
      'groups of one value',
      one({ tile: { ...tile, scale: { ...tile.scale, wholeTensor: true } } }),
      {},
      /has no groups at tensors.w.tile.scale/,
    ],
    [
      'zeros in groups of one value',
      one({ tile: { ...tile, zero: { kind: 'float', ...tile.scale, wholeTensor: true } } }),
      {},
      /has no groups at tensors.w.tile.zero/,
    ],
    [
      'floats under a parent',
      one({ tile: { ...tile, scale: { ...tile.scale, parent: { stored: 'f32', per: 'row' } } } }),
      {},
      /e4m3 lie under a parent at tensors.w.tile.scale/,
    ],
    [
      'one value under a parent',
      one({
        tile: { ...tile, scale: { stored: { bits: 4 }, group: 0, wholeTensor: true, parent: { stored: 'f32', per: 'tensor' } } },
      }),
      {},
      /lies under no parent/,
    ],
    [
      'static inputs without levels',
      one({ input: { ...input, dynamic: false, per: 'tensor' } }),
      { 'w.codes': codes, 'w.scale': scale },
      /static/,
    ],
    [
      'floats of other bits',
      one({ input: { ...input, bits: 4, float: 'e4m3' } }),
      { 'w.codes': codes, 'w.scale': scale },
      /inputs in e4m3 have 8 bits/,
    ],
    ['floats of no name', one({ input: { ...input, float: 'zip' } }), { 'w.codes': codes, 'w.scale': scale }, /zip/],
    [
      'groups that do not fill the input',
      one({ input: { ...input, per: { group: 7 } } }),
      { 'w.codes': codes, 'w.scale': scale },
      /w: .*groups do not fill/,
    ],
    [
      'outliers of a tensor',
      one({ input: { ...input, per: 'tensor', threshold: 6 } }),
      { 'w.codes': codes, 'w.scale': scale },
      /a scale for each token/,
    ],
    ['a tensor twice', one({}), { 'w.codes': codes, 'w.scale': scale, w: tensor('f32', [1], 4) }, /stored twice/],
    ['broken blocks', { version: 1, tensors: { w: { shape: [2, 60], form: 'blocks', type: 'q4_0' } } }, {}, /blocks of 32/],
    ['blocks of no type', { version: 1, tensors: { w: { shape: [2, 64], form: 'blocks', type: 'zip' } } }, {}, /fewbits/],
  ])('%s is refused', async (_, document, tensors, message) => {
    const attempt = opened(document, tensors);
    await expect(attempt).rejects.toThrow(FormatError);
    await expect(attempt).rejects.toThrow(message);
  });
});
