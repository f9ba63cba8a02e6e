/** Round to nearest as compressed-tensors, GPTQModel and ONNX Runtime do it, code by code and scale by scale. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { unpackDense } from '../numeric/pack.ts';
import type { StorageType } from '../tensor/storage.ts';
import { fromF32, toF32 } from '../tensor/values.ts';
import { quantizeMatrix, rangeContext, rangeOf, scaleOf, surveyLimits } from './index.ts';
import type { MatrixScheme } from './scheme.ts';

const golden = new URL('../../test/golden/', import.meta.url);
const dtypes: Record<string, StorageType> = { F32: 'f32', F16: 'f16', BF16: 'bf16', I32: 'i32', I8: 'i8', U8: 'u8' };

interface GoldenTensor {
  shape: number[];
  bytes: Uint8Array;
  values: Float32Array;
}

function readGolden(path: string): (name: string) => GoldenTensor {
  const file = readFileSync(new URL(path, golden));
  const end = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, end));
  return (name) => {
    const { dtype, shape, data_offsets } = header[name];
    const bytes = Uint8Array.from(file.subarray(end + data_offsets[0], end + data_offsets[1]));
    return { shape, bytes, values: toF32(dtypes[dtype]!, bytes) };
  };
}

interface Case {
  container: string;
  case: string;
  bits: number;
  symmetric: boolean;
  group: number | null;
  dtype: string;
  weight: string;
  dequantized_sha256: string;
}

const tensor = readGolden('quantize/rtn.safetensors');
const cases: Case[] = JSON.parse(readFileSync(new URL('quantize/rtn.json', golden), 'utf8'));
const of = (container: string) => cases.filter((c) => c.container === container);
const granularity = ({ group }: Case) => (group === null || group === -1 ? 'channel' : { group });
const matrix = ({ values, shape }: GoldenTensor, scheme: MatrixScheme) => quantizeMatrix(values, [shape[0]!, shape[1]!], scheme);

describe.each(of('compressed-tensors'))('compressed-tensors $case', (c) => {
  const dtype = ({ float32: 'f32', bfloat16: 'bf16', float16: 'f16' } as const)[c.dtype]!;
  const { tile, dequantized } = matrix(tensor('compressed-tensors.weight'), {
    kind: 'integer',
    bits: c.bits,
    symmetric: c.symmetric,
    signed: true,
    granularity: granularity(c),
    range: c.symmetric ? 'absmax-half' : 'minmax',
    scaleType: dtype,
    emptyGroup: 'epsilon',
    arithmetic: { compute: dtype, zero: 'beforeRounding' },
  });
  const field = (name: string) => tensor(`compressed-tensors.${c.case}.${name}`);

  it('codes', () => {
    expect(tile.codes).toEqual(unpackDense(field('weight_packed').bytes, c.bits, 128 * 128));
  });

  it('scales and zero points', () => {
    const scales = field('weight_scale');
    expect(tile.scale!.values).toEqual(scales.values);
    if (c.symmetric) return expect(tile.zero).toBeUndefined();
    // Zero points are packed down the rows: word w of a column holds the rows 32 / bits * w and on.
    const groups = scales.shape[1]!;
    const words = new Uint32Array(field('weight_zero_point').bytes.buffer);
    const each = 32 / c.bits;
    const zeros = scales.values.map((_, i) => {
      const row = Math.floor(i / groups);
      const word = words[Math.floor(row / each) * groups + (i % groups)]!;
      return ((word >>> ((row % each) * c.bits)) & (2 ** c.bits - 1)) - 2 ** (c.bits - 1);
    });
    expect(tile.zero!.levels.values).toEqual(zeros);
  });

  it('dequantized bytes', () => {
    const hash = createHash('sha256').update(fromF32(dtype, dequantized())).digest('hex');
    expect(hash).toBe(c.dequantized_sha256);
  });
});

describe.each(of('gptq'))('gptq $case', (c) => {
  const weight = tensor(c.weight);
  const { tile } = matrix(weight, {
    kind: 'integer',
    bits: c.bits,
    symmetric: c.symmetric,
    signed: false,
    granularity: granularity(c),
    range: c.symmetric ? 'absmax-gptq' : 'minmax',
    scaleType: 'f32',
    emptyGroup: 'unit',
    arithmetic: { compute: 'f32' },
  });

  it('codes, scales and zero points', () => {
    const [out, input] = weight.shape as [number, number];
    const words = new Uint32Array(tensor(`gptq.${c.case}.qweight`).bytes.buffer); // [in * bits / 32, out]
    const codes = tile.codes.map((_, i) => {
      const bit = (i % input) * c.bits;
      return (words[(bit >>> 5) * out + Math.floor(i / input)]! >>> (bit & 31)) & (2 ** c.bits - 1);
    });
    expect(tile.codes).toEqual(codes);
    expect(tile.scale!.values).toEqual(tensor(`gptq.${c.case}.packer.scales`).values);
    // The package writes some zeros as -0.
    expect(tile.zero!.levels.values).toEqual(tensor(`gptq.${c.case}.packer.zeros`).values.map((z) => z + 0));
  });
});

describe.each(of('onnx'))('ONNX MatMulNBits $case', (c) => {
  const weight = tensor(c.weight);
  const { tile } = matrix(weight, {
    kind: 'integer',
    bits: c.bits,
    symmetric: c.symmetric,
    signed: false,
    granularity: granularity(c),
    range: c.symmetric ? 'signed-extreme' : 'minmax',
    scaleType: c.weight.endsWith('f16') ? 'f16' : 'f32',
    emptyGroup: 'zero',
    arithmetic: { compute: 'f32', divide: 'reciprocal', rounding: 'halfAway', zero: 'beforeRounding' },
  });

  it('codes, scales and zero points', () => {
    const codes = tensor(`onnx.${c.case}.Q${c.bits}`).bytes;
    expect(tile.codes).toEqual(unpackDense(codes, c.bits, tile.codes.length));
    expect(tile.scale!.values).toEqual(tensor(`onnx.${c.case}.scales`).values);
    if (c.symmetric) return;
    const zeros = unpackDense(tensor(`onnx.${c.case}.zero_points`).bytes, c.bits, tile.scale!.values.length);
    expect(tile.zero!.levels.values).toEqual(Float32Array.from(zeros));
  });
});

describe('calculate_qparams of compressed-tensors', () => {
  const qparams = readGolden('methods/ranges/compressed_tensors_qparams.safetensors');
  const { cases: list } = JSON.parse(readFileSync(new URL('methods/ranges/compressed_tensors_qparams.json', golden), 'utf8'));

  it.each(list as { case: string; num_bits: number; symmetric: boolean; dtype: string }[])('$case', (c) => {
    const dtype = ({ 'torch.float32': 'f32', 'torch.bfloat16': 'bf16', 'torch.float16': 'f16' } as const)[c.dtype]!;
    const context = rangeContext({
      kind: 'integer',
      bits: c.num_bits,
      symmetric: c.symmetric,
      signed: true,
      granularity: 'tensor',
      range: 'minmax',
      scaleType: dtype,
      emptyGroup: 'epsilon',
      arithmetic: { compute: dtype, zero: 'beforeRounding' },
    });
    const range = rangeOf(c.symmetric ? 'absmax-half' : 'minmax', c.symmetric);
    const { values: min } = qparams('min');
    const { values: max } = qparams('max');
    const found = Array.from(min, (low, i) => scaleOf(range, { min: context.round(low), max: context.round(max[i]!) }, context));
    expect(found.map((f) => f.scale)).toEqual([...qparams(`${c.case}.scale`).values]);
    expect(found.map((f) => f.zero)).toEqual([...qparams(`${c.case}.zero_point`).values]);
  });
});

describe('observers of llm-compressor for weights', () => {
  const mse = readGolden('methods/ranges/llmcompressor_mse_observer.safetensors');
  const { cases: list } = JSON.parse(readFileSync(new URL('methods/ranges/llmcompressor_mse_observer.json', golden), 'utf8'));

  type MseCase = {
    case: string;
    observer: string;
    num_bits: number;
    symmetric: boolean;
    strategy: string;
    group_size: number | null;
  };
  it.each(list as MseCase[])('$case', (c) => {
    const base = c.symmetric ? 'absmax-half' : 'minmax';
    const scheme: MatrixScheme = {
      kind: 'integer',
      bits: c.num_bits,
      symmetric: c.symmetric,
      signed: true,
      granularity: c.strategy === 'group' ? { group: c.group_size! } : (c.strategy as 'channel' | 'tensor'),
      // Its search also ends after 5 steps in which no channel improved: the best of all 20 is found before that.
      range: c.observer === 'memoryless_mse' ? 'mse' : base,
      rangeOptions: { steps: 20, power: 2.4, base },
      scaleType: 'f32',
      emptyGroup: 'epsilon',
      arithmetic: { compute: 'f32', zero: 'beforeRounding' },
    };
    const weight = mse('weight');
    const { tile } = matrix(weight, scheme);
    expect(tile.scale!.values).toEqual(mse(`${c.case}.scale`).values);
    if (!c.symmetric) expect(tile.zero!.levels.values).toEqual(mse(`${c.case}.zero_point`).values);
    if (c.strategy === 'tensor') {
      const { min, max } = surveyLimits(weight.values, scheme);
      expect([min, max]).toEqual([mse(`${c.case}.min`).values[0], mse(`${c.case}.max`).values[0]]);
    }
  });
});
