/** Observers as torch and onnxruntime have them, batch by batch, and where batches are odd. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LimitError, NumericError, RecipeError } from '../../errors.ts';
import { Random } from '../../numeric/random.ts';
import type { StorageType } from '../../tensor/storage.ts';
import { toF32 } from '../../tensor/values.ts';
import { rangeContext, rangeOf, scaleOf } from '../index.ts';
import type { Limits } from '../range/types.ts';
import type { MatrixScheme } from '../scheme.ts';
import { collectMagnitudes, collectValues, type GrowingHistogram } from './growing-histogram.ts';
import { observerOf, observers } from './registry.ts';
import { batchExtremes, type Observer, type ObserverName } from './types.ts';

const golden = new URL('../../../test/golden/methods/ranges/', import.meta.url);
const dtypes: Record<string, StorageType> = { F32: 'f32', F16: 'f16', I32: 'i32' };

function readGolden(name: string) {
  const file = readFileSync(new URL(`${name}.safetensors`, golden));
  const end = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, end));
  const { cases } = JSON.parse(readFileSync(new URL(`${name}.json`, golden), 'utf8'));
  const tensor = (key: string): Float32Array => {
    const { dtype, data_offsets } = header[key];
    return toF32(dtypes[dtype]!, Uint8Array.from(file.subarray(end + data_offsets[0], end + data_offsets[1])));
  };
  return { cases, tensor };
}

const torch = readGolden('torch_observers');
const onnx = readGolden('onnxruntime_calibrators');
const batches = (data: string) => [0, 1, 2, 3].map((i) => torch.tensor(`data.${data}.${i}`));

function observed(observer: Observer, list: readonly Float32Array[]): Limits {
  for (const batch of list) observer.observe(batch);
  return observer.limits();
}

const relative = (a: number, b: number) => Math.abs(a - b) / Math.abs(b);

/** Scale and zero point by the range formulas. */
function parameters(limits: Limits, scheme: Partial<MatrixScheme>) {
  const complete: MatrixScheme = {
    kind: 'integer',
    bits: 8,
    symmetric: false,
    granularity: 'tensor',
    range: 'minmax',
    scaleType: 'f32',
    ...scheme,
  };
  return scaleOf(rangeOf(complete.range, complete.symmetric), limits, rangeContext(complete));
}

describe('torch.ao.quantization', () => {
  interface Case {
    data?: string;
    observer: string;
    qscheme: string;
    quant_min: number;
    quant_max: number;
    min: number;
    max: number;
    search_min?: number;
    search_max?: number;
    scale: number;
    zero_point: number;
  }
  const names: Record<string, ObserverName> = {
    minmax: 'minmax',
    moving_average_minmax: 'moving-average',
    histogram: 'histogram',
  };
  const cases = (torch.cases as Case[]).filter((c) => c.data);
  const schemeOf = ({ qscheme, quant_min, quant_max }: Pick<Case, 'qscheme' | 'quant_min' | 'quant_max'>) => {
    const symmetric = qscheme.endsWith('symmetric');
    const range = symmetric ? 'absmax-half' : 'minmax';
    const bits = Math.log2(quant_max - quant_min + 1);
    return { bits, symmetric, signed: quant_min < 0, range, arithmetic: { compute: 'f32' } } as const;
  };

  it.each(cases)('$observer of $data, $qscheme $quant_min..$quant_max', (c) => {
    const limits = observed(observerOf(names[c.observer]!), batches(c.data!));
    const { scale, zero } = parameters(limits, schemeOf(c));
    if (c.observer === 'histogram') {
      const bin = (c.max - c.min) / 2048;
      // Tolerance of the golden file: 2 bins, scale 1 %; the same bin is found everywhere.
      expect(Math.abs(limits.min - c.search_min!)).toBeLessThan(0.01 * bin);
      expect(Math.abs(limits.max - c.search_max!)).toBeLessThan(0.01 * bin);
    } else expect([limits.min, limits.max]).toEqual([c.min, c.max]);
    expect(relative(scale, c.scale)).toBeLessThan(1e-6);
    expect(zero).toBe(c.zero_point);
  });

  const channels = (torch.cases as (Case & { case?: string })[]).filter((c) => c.case);
  it.each(channels)('$case', (c) => {
    const weight = torch.tensor('weight'); // [24, 40]
    const scheme = schemeOf({ ...c, qscheme: c.case!.includes('affine') ? 'affine' : 'symmetric' });
    const found = Array.from({ length: 24 }, (_, row) => {
      const first = weight.subarray(row * 40, (row + 1) * 40);
      const second = first.map((x) => Math.fround(x * 0.5) + Math.fround(0.001));
      const observer = observerOf(c.case!.startsWith('Moving') ? 'moving-average' : 'minmax');
      return parameters(observed(observer, [first, second]), scheme);
    });
    const scales = torch.tensor(`${c.case}.scale`);
    for (const [row, { scale }] of found.entries()) expect(relative(scale, scales[row]!)).toBeLessThan(1e-6);
    expect(found.map(({ zero }) => zero)).toEqual([...torch.tensor(`${c.case}.zero_point`)]);
  });
});

describe('onnxruntime.quantization', () => {
  interface Parameters {
    qmin: number;
    qmax: number;
    scale: number;
    zero_point: number;
  }
  interface Case {
    data: string;
    method: 'percentile' | 'entropy' | 'minmax';
    symmetric_histogram: boolean;
    num_bins: number;
    num_quantized_bins: number;
    percentile: number | null;
    low: number;
    high: number;
    bins_after_merge: number;
    edge_last: number;
    uint8_asym: Parameters;
    int8_sym: Parameters;
    int8_asym: Parameters;
  }

  it.each(onnx.cases as Case[])('$method $percentile of $data, $num_bins bins, symmetric $symmetric_histogram', (c) => {
    const observer = observerOf(c.method, {
      bins: c.num_bins,
      codes: c.num_quantized_bins,
      symmetric: c.symmetric_histogram,
      ...(c.percentile !== null && { percentile: c.percentile }),
    });
    const limits = observed(observer, batches(c.data));
    // Of entropy the golden file allows one bin; both are found exactly.
    expect([limits.min, limits.max]).toEqual([c.low, c.high]);
    for (const [golden, scheme] of [
      [c.uint8_asym, { signed: false }],
      [c.int8_asym, { signed: true }],
      [c.int8_sym, { symmetric: true, range: 'absmax-narrow' }],
    ] as const) {
      const { scale, zero } = parameters(limits, { ...scheme, arithmetic: { zero: 'beforeRounding' } });
      expect(relative(scale, golden.scale)).toBeLessThan(1e-6);
      expect(zero).toBe(golden.zero_point);
    }
  });
});

describe('growing histograms', () => {
  it.each(['gauss', 'heavy', 'relu', 'gelu', 'positive_shift'])('%s: the counts of onnxruntime after all batches', (data) => {
    for (const [name, collect] of [
      ['percentile_2048', collectMagnitudes(2048, 2 ** 15)],
      ['entropy_128', collectValues(128, 2 ** 15)],
    ] as const) {
      let histogram: GrowingHistogram | undefined;
      for (const batch of batches(data)) histogram = collect(batch, batchExtremes(batch)!, histogram);
      expect([...histogram!.counts], name).toEqual([...onnx.tensor(`hist.${data}.${name}`)]);
    }
  });
});

describe('odd batches', () => {
  const names = Object.keys(observers) as ObserverName[];
  const some = Float32Array.from({ length: 500 }, (_, i) => Math.sin(i) * 3);

  it.each(names)('%s: no values, NaN, empty batches, constants', (name) => {
    const observer = observerOf(name);
    expect(() => observer.limits()).toThrow(NumericError);
    observer.observe(new Float32Array(0));
    expect(() => observer.limits()).toThrow(/has seen no values/);
    expect(() => observer.observe(Float32Array.of(1, Number.NaN))).toThrow(NumericError);
    expect(() => observer.observe(Float32Array.of(1, Number.POSITIVE_INFINITY))).toThrow(NumericError);
    for (const value of [0, 5, -5]) {
      const limits = observed(observerOf(name), [new Float32Array(100).fill(value), new Float32Array(3).fill(value)]);
      expect(limits.min).toBeLessThanOrEqual(value);
      expect(limits.max).toBeGreaterThanOrEqual(value === 0 ? 0 : limits.min);
      expect(Math.abs(limits.max - value)).toBeLessThan(0.06 * Math.max(1, Math.abs(value)));
    }
  });

  it.each(names)('%s: limits never pass the extremes, and empty batches change nothing', (name) => {
    const [one, other] = [observerOf(name), observerOf(name)];
    const limits = observed(one, [some, some.map((x) => x * 1.3)]);
    const same = observed(other, [new Float32Array(0), some, new Float32Array(0), some.map((x) => x * 1.3)]);
    expect(same).toEqual(limits);
    expect(limits.min).toBeGreaterThanOrEqual(-3.9);
    expect(limits.max).toBeLessThanOrEqual(3.9);
  });

  it.each(names)('%s: a start of zeros', (name) => {
    const { min, max } = observed(observerOf(name), [new Float32Array(50), some]);
    if (name !== 'moving-average') {
      expect(min).toBeLessThan(-2.5);
      expect(max).toBeGreaterThan(2.5);
    } else expect(max).toBeCloseTo(0.03, 3);
  });

  it('growth is bounded', () => {
    for (const name of ['percentile', 'entropy']) {
      const observer = observerOf(name);
      observer.observe(some);
      expect(() => observer.observe(Float32Array.of(1e30))).toThrow(LimitError);
      expect(observer.limits().max).toBeLessThan(3.01);
    }
    const histogram = observed(observerOf('histogram'), [some, Float32Array.of(1e30)]);
    expect(histogram.max).toBeGreaterThan(1e26);
  });

  it('one outlier sets minmax and is cut off by the others', () => {
    const random = new Random(3);
    const values = Float32Array.from({ length: 200_000 }, () => random.gaussian());
    values[7] = 100;
    const high = (name: ObserverName, options = {}) => observed(observerOf(name, options), [values]).max;
    expect(high('minmax')).toBe(100);
    expect(high('percentile', { percentile: 99.99 })).toBeLessThan(5);
    expect(high('entropy', { bins: 2048 })).toBeLessThan(10);
    expect(high('histogram', { codes: 16 })).toBeLessThan(100);
  });

  it('parameters outside their limits', () => {
    expect(() => observerOf('kl')).toThrow(RecipeError);
    expect(() => observerOf('percentile', { percentile: 0 })).toThrow(RecipeError);
    expect(() => observerOf('percentile', { bins: 1e9 })).toThrow(RecipeError);
    expect(() => observerOf('entropy', { bins: 65_000 })).toThrow(RecipeError);
    expect(() => observerOf('entropy', { codes: 256 })).toThrow(RecipeError);
    expect(() => observerOf('moving-average', { constant: 0 })).toThrow(RecipeError);
  });
});
