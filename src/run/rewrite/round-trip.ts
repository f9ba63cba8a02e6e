/** How a search tries what a scheme does to a weight. */
import { decodeRows, encodeRows as encodeBlocks } from '../../kernels/index.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import { dequantizeTile } from '../../quantize/dequantize.ts';
import { encodeRows } from '../../quantize/kinds/encode.ts';
import { kindOf } from '../../quantize/kinds/registry.ts';
import { type IntegerScheme, isWeightScheme, type Scheme, type WeightScheme } from '../../quantize/scheme.ts';
import type { RoundTrip } from '../../quantize/transform/index.ts';
import { storage } from '../../tensor/storage.ts';

/** Ratios of a range that searches, where it is tried for each of 20 scales: one of four of those down to 0.61. */
const COARSE = { steps: 40, stride: 4 } as const;
/** What each range that searches ratios is here, where nothing is known of the inputs. */
const searched: Partial<Record<string, IntegerScheme['range']>> = {
  mse: 'mse',
  sqnr: 'sqnr',
  entropy: 'entropy',
  imatrix: 'mse',
  'output-mse': 'mse',
};

function coarse(scheme: WeightScheme): WeightScheme {
  if ('weighted' in scheme && scheme.weighted) return { ...scheme, weighted: false };
  const range = scheme.kind === 'integer' ? searched[scheme.range] : undefined;
  if (scheme.kind !== 'integer' || !range) return scheme;
  const { rangeOptions = {} } = scheme;
  const steps = Math.min(rangeOptions.steps ?? COARSE.steps, COARSE.steps);
  return { ...scheme, range, rangeOptions: { ...rangeOptions, steps, stride: COARSE.stride } };
}

/** Rounding to nearest by the scheme, whatever else it asks for: feedback works on what the transform leaves. undefined: nothing is rounded. */
export function roundTripOf(scheme: Scheme, kernels: Kernels): RoundTrip | undefined {
  if (isWeightScheme(scheme)) {
    const { rounding: _, split: __, balance: ___, ...rest } = scheme;
    const plain = coarse(rest);
    const kind = kindOf(plain);
    const apply = (w: Float32Array, cols: number) => {
      const rows = w.length / cols;
      const place = { name: 'matrix', shape: [rows, cols] as const, from: 0, to: rows };
      const survey = kind.surveys(plain) ? kind.survey(w, place, plain, {}) : {};
      w.set(dequantizeTile(encodeRows(w, place, plain, {}, survey)));
    };
    return Object.assign(apply, { group: (cols: number) => (kind.run(plain) > 1 ? kind.run(plain) : cols) });
  }
  if (scheme.kind === 'storage' && storage[scheme.type].block > 1) {
    const { type } = scheme;
    const apply = (w: Float32Array, cols: number) =>
      w.set(decodeRows(kernels, type, encodeBlocks(kernels, type, w, cols), w.length));
    return Object.assign(apply, { group: () => Math.min(32, storage[type].block) });
  }
  return undefined;
}
