// Codes and levels of every type against ggml's own bytes and values (test/golden/ggml), then blocks of random bytes.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { blockTypes, decodeRows, encodeRows, loadKernels } from '../../../kernels/index.ts';
import { Random } from '../../../numeric/random.ts';
import { dequantizeTile, effectiveBits } from '../../../quantize/index.ts';
import { storage, storageBytes } from '../../../tensor/storage.ts';
import { blocksFromTile, type LevelType, readCodes, readLevels, tileFromBlocks, withCodes, writeLevels } from './index.ts';
import { layouts } from './layouts.ts';

const types = Object.keys(layouts) as LevelType[];
const kernels = await loadKernels();
const golden = new URL('../../../../test/golden/ggml/', import.meta.url);

/** Name -> bytes [rows, row bytes]; enough of safetensors for files that are known to be well-formed. */
function readTensors(file: string): Map<string, { bytes: Uint8Array; shape: number[] }> {
  const bytes = readFileSync(new URL(file, golden));
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header: Record<string, { data_offsets: [number, number]; shape: number[] }> = JSON.parse(
    bytes.toString('utf8', 8, start),
  );
  return new Map(
    Object.entries(header).flatMap(([name, { data_offsets, shape }]) =>
      name === '__metadata__'
        ? []
        : [[name, { shape, bytes: Uint8Array.from(bytes.subarray(start + data_offsets[0], start + data_offsets[1])) }] as const],
    ),
  );
}

const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);

function place(type: LevelType, bytes: Uint8Array, rows = 1) {
  const cols = ((bytes.length / storage[type].bytes) * storage[type].block) / rows;
  return { name: 'w', shape: [rows, cols] as const, from: 0, to: rows };
}

/** Bytes of `count` blocks whose f16 levels are finite. */
function randomBlocks(type: LevelType, count: number, seed: number): Uint8Array {
  const random = new Random(seed);
  const bytes = Uint8Array.from({ length: count * storage[type].bytes }, () => random.integer(256));
  const { d, min } = layouts[type];
  for (let at = 0; at < bytes.length; at += storage[type].bytes) {
    for (const half of min ? [d, min.at] : [d]) if ((bytes[at + half + 1] & 0x7c) === 0x7c) bytes[at + half + 1] ^= 4;
  }
  return bytes;
}

describe.each(types)('%s', (type) => {
  it('equals ggml on all goldens: values bit for bit, and the same bytes again', () => {
    let checked = 0;
    for (const [name, { bytes, shape }] of readTensors(`${type.toUpperCase()}.safetensors`)) {
      if (!name.endsWith('encoded')) continue;
      const at = place(type, bytes, shape[0]);
      const tile = tileFromBlocks(type, bytes, at);
      const values = decodeRows(kernels, type, bytes, at.shape[0] * at.shape[1]);
      expect(bits(dequantizeTile(tile)), name).toEqual(bits(values));
      expect(blocksFromTile(type, tile), name).toEqual(bytes);
      checked++;
    }
    expect(checked).toBeGreaterThan(5);
  });

  it('equals the decoder on any bytes, and gives them back', () => {
    const bytes = randomBlocks(type, 24, 5);
    const tile = tileFromBlocks(type, bytes, place(type, bytes, 3));
    expect(bits(dequantizeTile(tile))).toEqual(bits(blockTypes[type].ref.decode(bytes, tile.codes.length)));
    expect(blocksFromTile(type, tile)).toEqual(bytes);
  });

  it('gives back the blocks of zeros, negative zeros, tiny and extreme values', () => {
    const random = new Random(1);
    for (const draw of [() => 0, () => -0, () => 1e-8 * random.gaussian(), () => 1e5 * (random.uniform() - 0.5), () => 3]) {
      const x = Float32Array.from({ length: 512 }, draw);
      const importance = Float32Array.from({ length: 512 }, () => random.uniform());
      for (const weights of blockTypes[type].imatrix === 'used' ? [undefined, importance] : [undefined]) {
        const bytes = encodeRows(kernels, type, x, 512, weights);
        const tile = tileFromBlocks(type, bytes, place(type, bytes));
        expect(bits(dequantizeTile(tile))).toEqual(bits(decodeRows(kernels, type, bytes, 512)));
        expect(blocksFromTile(type, tile)).toEqual(bytes);
      }
    }
  });

  it('loses only the payload of a NaN scale', () => {
    const bytes = randomBlocks(type, 1, 2);
    const { d } = layouts[type];
    bytes.set([0x34, 0x7e], d);
    const back = blocksFromTile(type, tileFromBlocks(type, bytes, place(type, bytes)));
    expect([...back.subarray(d, d + 2)]).toEqual([0x00, 0x7e]);
    back.set([0x34], d);
    expect(back).toEqual(bytes);
  });

  it('changes codes and nothing else', () => {
    const bytes = randomBlocks(type, 6, 3);
    const other = readCodes(type, randomBlocks(type, 6, 4));
    const changed = withCodes(type, bytes, other);
    expect(readCodes(type, changed)).toEqual(other);
    expect(readLevels(type, changed)).toEqual(readLevels(type, bytes));
    expect(withCodes(type, changed, readCodes(type, bytes))).toEqual(bytes);
  });

  it('changes levels and nothing else', () => {
    const bytes = randomBlocks(type, 6, 3);
    const other = readLevels(type, randomBlocks(type, 6, 4));
    const changed = bytes.slice();
    writeLevels(type, other, changed);
    expect(readLevels(type, changed)).toEqual(other);
    expect(readCodes(type, changed)).toEqual(readCodes(type, bytes));
  });

  it('has the bits a value of the type', () => {
    const bytes = randomBlocks(type, 2, 3);
    expect(effectiveBits(tileFromBlocks(type, bytes, place(type, bytes)))).toBe((storage[type].bytes * 8) / storage[type].block);
  });

  it('refuses bytes that are not whole rows', () => {
    const bytes = new Uint8Array(storageBytes(type, 512));
    expect(() => tileFromBlocks(type, bytes.subarray(1), place(type, bytes))).toThrow('the bytes are not rows');
    expect(() => readCodes(type, bytes.subarray(1))).toThrow('not whole');
    expect(() => withCodes(type, bytes, new Uint8Array(3))).toThrow('do not fill');
  });
});
