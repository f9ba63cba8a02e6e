/**
 * ZeroQuant (Yao et al., arXiv 2206.01861) as DeepSpeed's compression quantizers do it, in f32: groups are runs of the flattened
 * weight, a step is a 2^b-th of the range, and offsets are whole steps. Of the symmetric range the upper end has no code.
 */
import { RecipeError } from '../errors.ts';
import { halfEven } from '../numeric/rounding.ts';
import type { Arithmetic, QuantizedTile } from '../quantized/types.ts';
import { checkFinite } from './check.ts';
import { integerGrid } from './grid/integer.ts';
import type { TilePlace } from './quantize-matrix.ts';
import { extremes } from './range/minmax.ts';
import type { Limits } from './range/types.ts';

const { fround } = Math;

export interface ZeroQuantOptions {
  /** 1..8 */
  bits: number;
  symmetric: boolean;
}

/** The quantizers compute in f32 and divide. */
export const zeroQuantArithmetic: Required<Arithmetic> = {
  compute: 'f32',
  divide: 'divide',
  rounding: 'halfEven',
  scale: 'afterCast',
  zero: 'afterRounding',
};

/**
 * Quantizes rows [place.from, place.to) of a weight. DeepSpeed gives the number of groups: a group holds rows * cols / groups values.
 * A group of zeros, and of equal values where asymmetric, gets the scale 1; DeepSpeed gives NaN.
 * @param x [to - from, cols]
 * @param group values of a group, in the order of memory; groups may cross rows but not the borders of tiles
 * @throws NumericError for NaN and Inf, RecipeError for groups that do not fit
 */
export function zeroQuantRows(
  x: Float32Array,
  { name, shape, from, to }: TilePlace,
  group: number,
  options: ZeroQuantOptions,
): QuantizedTile {
  const cols = shape[1];
  const fits = Number.isInteger(group) && group > 0 && (from * cols) % group === 0 && (to * cols) % group === 0;
  if (!fits) {
    const next = 'choose a group that divides the values of the tile';
    throw new RecipeError({ what: `rows of ${cols} values do not split into groups`, where: name, value: group, next });
  }
  if (x.length !== (to - from) * cols) {
    throw new RecipeError({ what: 'the values do not fill the rows', where: name, value: x.length, limit: (to - from) * cols });
  }
  checkFinite(x, name, from, cols);
  const { codes, scale, offset } = quantizeRuns(x, group, options);
  const per = cols % group === 0 ? { rows: 1, cols: group } : { flat: group };
  return {
    name,
    shape,
    from,
    to,
    grid: { kind: 'integer', bits: options.bits, signed: options.symmetric },
    codes,
    scale: { values: scale, stored: 'f32', per },
    ...(!options.symmetric && { zero: { kind: 'minimum', levels: { values: offset, stored: 'f32', per } } }),
    arithmetic: zeroQuantArithmetic,
  };
}

export interface QuantizedTokens {
  /** [tokens, cols], unsigned: code 0 of a symmetric grid is -2^(bits - 1) */
  codes: Uint8Array;
  /** [tokens], or [1] with given limits */
  scale: Float32Array;
  /** The same: what code 0 stands for where asymmetric. */
  offset: Float32Array;
  /** [tokens, cols]: what the codes stand for. */
  values: Float32Array;
}

/**
 * Token-wise quantization of activations: each token has its own range. With `limits`, found beforehand, all share one (static).
 * @param x [tokens, cols]
 * @throws NumericError for NaN and Inf
 */
export function quantizeTokens(x: Float32Array, cols: number, options: ZeroQuantOptions, limits?: Limits): QuantizedTokens {
  if (cols < 1 || x.length % cols !== 0) {
    throw new RecipeError({ what: 'the values are no whole tokens', value: x.length, limit: `a multiple of ${cols}` });
  }
  checkFinite(x, 'activations', 0, cols);
  const run = limits ? x.length : cols;
  const quantized = quantizeRuns(x, run, options, limits);
  const { codes, scale, offset } = quantized;
  const { qMin } = integerGrid(options.bits, options.symmetric);
  const values = Float32Array.from(codes, (code, i) => {
    const at = Math.floor(i / run);
    return fround((code + qMin) * scale[at]!) + offset[at]!;
  });
  return { ...quantized, values };
}

/** x: whole runs of `run` values */
function quantizeRuns(x: Float32Array, run: number, { bits, symmetric }: ZeroQuantOptions, given?: Limits) {
  const { qMin, qMax, half } = integerGrid(bits, symmetric);
  const count = x.length / run;
  const codes = new Uint8Array(x.length);
  const scale = new Float32Array(count);
  const offset = new Float32Array(count);
  for (let g = 0; g < count; g++) {
    const limits = given ?? extremes(x, g * run, (g + 1) * run);
    const found = (symmetric ? symmetricStep : asymmetricStep)(limits, 2 * half);
    scale[g] = found.scale;
    offset[g] = found.offset;
    for (let i = g * run; i < (g + 1) * run; i++) {
      const q = halfEven(fround(fround(x[i]! - found.offset) / found.scale));
      codes[i] = Math.max(qMin, Math.min(q, qMax)) - qMin;
    }
  }
  return { codes, scale, offset };
}

interface Found {
  scale: number;
  offset: number;
}

function symmetricStep({ min, max }: Limits, codes: number): Found {
  const scale = fround((2 * Math.max(Math.abs(min), Math.abs(max))) / codes);
  return { scale: scale === 0 ? 1 : scale, offset: 0 };
}

function asymmetricStep({ min, max }: Limits, codes: number): Found {
  const scale = fround(fround(max - min) / codes);
  if (scale === 0) return { scale: 1, offset: min };
  return { scale, offset: fround(halfEven(fround(min / scale)) * scale) };
}
