/** MXFP4 and NVFP4 as llm-compressor 0.14.0.1 with compressed-tensors 0.20.0 writes them, and as ggml 0.25.1 decodes its own. */
import { describe, expect, it } from 'vitest';
import { unpackDense } from '../../numeric/pack.ts';
import { dequantizeTile } from '../index.ts';
import { quantizeBlockFloat } from './block-float.ts';
import { golden } from './golden.fixture.node.ts';
import { quantizeNvfp4 } from './nvfp4.ts';

const input = golden('../formats/compressed-tensors/_input/model');
const linears = ['mlp.down_proj', 'mlp.gate_proj', 'mlp.up_proj'].concat(
  ['k', 'o', 'q', 'v'].map((letter) => `self_attn.${letter}_proj`),
);

describe.each(linears)('llm-compressor 0.14.0.1 %s', (linear) => {
  const name = `model.layers.0.${linear}.weight`;
  const [rows, cols] = input.shape(name) as [number, number];
  const x = input.values(name);
  const place = { name, shape: [rows, cols] as const, from: 0, to: rows };

  it('MXFP4A16: exponents and codes', () => {
    const file = golden('fp4_blocks/mxfp4a16');
    const { scale, codes } = quantizeBlockFloat(x, place, { format: 'e2m1', exponent: 'even' });
    expect(Uint8Array.from(scale!.values, (s) => Math.log2(s) + 127)).toEqual(file.bytes(`${name}_scale`));
    expect(codes).toEqual(unpackDense(file.bytes(`${name}_packed`), 4, x.length));
  });

  it('NVFP4A16: scales and codes under its global scale', () => {
    const file = golden('fp4_blocks/nvfp4a16');
    const global = 1 / file.values(`${name}_global_scale`)[0]!;
    const { scale, codes } = quantizeNvfp4(x, place, { global, compute: 'bf16' });
    const want = file.bytes(`${name}_scale`);
    // A block of zeros has the scale of the dtype's epsilon there.
    const isZero = scale!.codes!.map((_, i) => (x.subarray(16 * i, 16 * i + 16).every((value) => value === 0) ? 1 : 0));
    expect(scale!.codes!.map((code, i) => (isZero[i] ? want[i]! : code))).toEqual(Int16Array.from(want));
    expect(isZero.reduce((a, b) => a + b)).toBe(linear === 'self_attn.q_proj' ? 10 : 0);
    expect(codes).toEqual(unpackDense(file.bytes(`${name}_packed`), 4, x.length));
  });
});

describe('ggml 0.25.1', () => {
  const inputs = golden('../ggml/inputs');
  const matrix = (name: string) => {
    const [rows, cols] = inputs.shape(`${name}.input`) as [number, number];
    return { x: inputs.values(`${name}.input`), place: { name, shape: [rows, cols] as const, from: 0, to: rows } };
  };
  const ties = 'towardZero';
  /** Equal but for signs of zero, and for blocks (from value, to value) whose scale ggml itself rounds in another way. */
  const compare = (got: Float32Array, want: Float32Array, but: (readonly [number, number])[]) => {
    const plain = (values: Float32Array) =>
      values.map((value, i) => (but.some(([from, to]) => i >= from && i < to) ? 0 : value + 0));
    expect(plain(got)).toEqual(plain(want));
  };

  it.each(['gaussian', 'gaussian_long', 'student_t', 'outliers', 'large', 'mixed', 'constant', 'ties', 'zero'])(
    'MXFP4 %s',
    (name) => {
      const { x, place } = matrix(name);
      const tile = quantizeBlockFloat(x, place, { format: 'e2m1', ties });
      // absmax an ulp below 8 and below 1/8: log2f of C rounds up to the whole number, the exact floor is one less.
      const but =
        name === 'ties'
          ? ([
              [2336, 2368],
              [2528, 2560],
            ] as const)
          : [];
      compare(dequantizeTile(tile), golden('fp4_blocks/ggml_mxfp4').values(`${name}.decoded`), [...but]);
    },
  );

  // Inputs with small blocks are left out: ggml rounds scales between 7 and 8 times 2^-9 down to 7, and the smallest to 0, so that
  // their blocks vanish.
  it.each(['gaussian', 'gaussian_long', 'outliers', 'large', 'ties', 'zero'])('NVFP4 %s', (name) => {
    const { x, place } = matrix(name);
    const tile = quantizeNvfp4(x, place, { global: 1, ties });
    // absmax / 6 = 2.125, the middle of two E4M3 values: ggml rounds up, half to even is 2.
    const but = name === 'ties' ? ([[1264, 1280]] as const) : [];
    compare(dequantizeTile(tile), golden('fp4_blocks/ggml_nvfp4').values(`${name}.decoded`), [...but]);
  });
});
