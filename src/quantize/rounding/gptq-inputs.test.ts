// Ranges that read statistics of the inputs, under GPTQ: each group is weighed by the inputs of its own columns.
import { describe, expect, it } from 'vitest';
import { RecipeError } from '../../errors.ts';
import { loadKernels } from '../../kernels/kernels.ts';
import { Random } from '../../numeric/random.ts';
import { quantizeRows } from '../quantize-matrix.ts';
import { groupBlocks } from '../range/inputs.ts';
import type { RangeInputs } from '../range/types.ts';
import type { GptqRounding } from '../scheme.ts';
import { correlated } from './correlated.fixture.ts';
import { factorizeHere } from './factorize.ts';
import { type GptqScheme, gptqRows } from './gptq-rows.ts';

const kernels = await loadKernels();
const [rows, cols, group] = [7, 192, 32];
const place = { name: 'w', shape: [rows, cols] as const, from: 0, to: rows };

const random = new Random(31);
const w = Float32Array.from({ length: rows * cols }, () => 0.02 * random.gaussian() ** 3);
const h = correlated(cols, 32);
const meansquare = Float32Array.from({ length: cols }, (_, i) => h[i * (cols + 1)]!);
const inputs: RangeInputs = { meansquare, blocks: { size: group, values: groupBlocks(h, cols, group) } };

const rounding: GptqRounding = { kind: 'gptq', damp: 0.01, order: 'natural', groups: 'static', block: 128, refine: 0 };
const base: GptqScheme = {
  kind: 'integer',
  bits: 3,
  symmetric: false,
  signed: false,
  granularity: { group },
  range: 'imatrix',
  scaleType: 'f16',
  emptyGroup: 'unit',
  arithmetic: { compute: 'f32' },
  rounding,
};

function factorOf(hessian: Float32Array, { damp, order }: GptqRounding) {
  const factor = factorizeHere(kernels, hessian, { damp, order, name: 'test' });
  if ('fallback' in factor) throw new Error(factor.fallback);
  return factor;
}

const round = (scheme: GptqScheme, given: RangeInputs | undefined = inputs, hessian = h) =>
  gptqRows(kernels, w, place, scheme, factorOf(hessian, scheme.rounding), { inputs: given });

const diagonal = (of: (column: number) => number) =>
  Float32Array.from({ length: cols * cols }, (_, at) => (at % (cols + 1) === 0 ? of(Math.floor(at / cols)) : 0));

describe('ranges that read inputs', () => {
  const kinds = (['imatrix', 'output-mse'] as const).flatMap((range) =>
    [true, false].flatMap((symmetric) =>
      (['f32', 'f16', 'bf16'] as const).flatMap((compute) =>
        [{ group }, 'channel' as const].map((granularity) => [range, symmetric, compute, granularity] as const),
      ),
    ),
  );
  it.each(kinds)('%s, symmetric %s, in %s, %o: static groups have the scales of rounding to nearest', (...kind) => {
    const [range, symmetric, compute, granularity] = kind;
    const scheme: GptqScheme = { ...base, range, symmetric, granularity, arithmetic: { compute } };
    const nearest = quantizeRows(w, place, scheme, { inputs });
    for (const order of ['natural', 'activation'] as const) {
      const tile = round({ ...scheme, rounding: { ...rounding, order } });
      expect(tile.scale).toEqual(nearest.scale);
      expect(tile.zero).toEqual(nearest.zero);
    }
    expect(scalesOf(nearest)).not.toEqual(scalesOf(quantizeRows(w, place, { ...scheme, range: 'mse' })));
  });

  it.each(['imatrix', 'output-mse'] as const)('%s: dynamic groups without feedback are those of rounding to nearest', (range) => {
    for (const block of [32, 128]) {
      const scheme: GptqScheme = { ...base, range, rounding: { ...rounding, groups: 'dynamic', block } };
      const found = round(
        scheme,
        inputs,
        diagonal(() => 1),
      );
      expect(found).toEqual(quantizeRows(w, place, scheme, { inputs }));
    }
  });

  it('imatrix: dynamic groups in activation order are weighed by the inputs of their columns', () => {
    const scheme: GptqScheme = { ...base, rounding: { ...rounding, groups: 'dynamic', order: 'activation' } };
    const hessian = diagonal((column) => meansquare[column]!);
    const { order } = factorOf(hessian, scheme.rounding);
    const permuted = Float32Array.from(w, (_, at) => w[at - (at % cols) + order[at % cols]!]!);
    const importance = Float32Array.from(order, (column) => meansquare[column]!);
    const expected = quantizeRows(permuted, place, base, { inputs: { meansquare: importance } });
    const tile = round(scheme, { meansquare }, hessian);
    expect(tile.scale!.values).toEqual(expected.scale!.values);
    expect(tile.zero!.levels.values).toEqual(expected.zero!.levels.values);
  });

  it('output-mse refuses dynamic groups in activation order', () => {
    const scheme: GptqScheme = {
      ...base,
      range: 'output-mse',
      rounding: { ...rounding, groups: 'dynamic', order: 'activation' },
    };
    expect(() => round(scheme)).toThrow(RecipeError);
    expect(() => round(scheme)).toThrow('static groups');
  });

  it('inputs of another width are refused', () => {
    expect(() => round(base, { meansquare: meansquare.subarray(1) })).toThrow(RecipeError);
    expect(() => round({ ...base, range: 'output-mse' }, { blocks: { size: group, values: new Float32Array(8) } })).toThrow(
      RecipeError,
    );
  });
});

function scalesOf({ scale }: ReturnType<typeof quantizeRows>): Float32Array {
  return scale!.values;
}
