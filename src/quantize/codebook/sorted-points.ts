/** Numbers with weights in ascending order: what one-dimensional clustering starts from. */

/** Values in ascending order without duplicates, and their weights. Both [n]. */
export interface SortedPoints {
  value: Float64Array;
  weight: Float64Array;
}

/** Sorts and joins equal values; values without weight are left out, unless none has weight: then all weigh 1. */
export function sortPoints(x: ArrayLike<number>, weights?: ArrayLike<number>): SortedPoints {
  const n = x.length;
  if (!weights) return joined(Float64Array.from(x).sort(), undefined);
  let kept = 0;
  for (let i = 0; i < n; i++) if (weights[i]! > 0) kept++;
  if (kept === 0) return joined(Float64Array.from(x).sort(), undefined);
  const values = new Float64Array(kept);
  const weight = new Float64Array(kept);
  for (let i = 0, at = 0; i < n; i++) {
    if (!(weights[i]! > 0)) continue;
    values[at] = x[i]!;
    weight[at++] = weights[i]!;
  }
  const order = ascending(values);
  const sortedValues = new Float64Array(kept);
  const sortedWeights = new Float64Array(kept);
  for (let i = 0; i < kept; i++) {
    sortedValues[i] = values[order[i]!]!;
    sortedWeights[i] = weight[order[i]!]!;
  }
  return joined(sortedValues, sortedWeights);
}

const asFloat = new Float32Array(1);
const asBits = new Uint32Array(asFloat.buffer);

/** The leading bits of an f32 that a bin of `condensedPoints` shares: sign, exponent and 11 of the 23 bits behind it. */
const BIN_BITS = 20;

/**
 * `sortPoints` of many numbers in memory that does not grow with them: values that agree in their leading bits (to 1 part in 2048)
 * become one point at their mean with their weight.
 */
export function condensedPoints(x: ArrayLike<number>, weights?: ArrayLike<number>): SortedPoints {
  const sums = new Float64Array(2 ** BIN_BITS);
  const totals = new Float64Array(2 ** BIN_BITS);
  const add = (weightOf: (i: number) => number): number => {
    let points = 0;
    for (let i = 0; i < x.length; i++) {
      const w = weightOf(i);
      if (!(w > 0)) continue;
      const bin = orderedBits(x[i]!) >>> (32 - BIN_BITS);
      if (totals[bin] === 0) points++;
      sums[bin]! += w * x[i]!;
      totals[bin]! += w;
    }
    return points;
  };
  const points = (weights && add((i) => weights[i]!)) || add(() => 1);
  const out = { value: new Float64Array(points), weight: new Float64Array(points) };
  for (let bin = 0, at = 0; bin < totals.length; bin++) {
    if (totals[bin] === 0) continue;
    out.value[at] = sums[bin]! / totals[bin]!;
    out.weight[at++] = totals[bin]!;
  }
  return out;
}

/** The bits of an f32 as an integer in the order of the values. */
function orderedBits(value: number): number {
  asFloat[0] = value;
  // Bit patterns of floats are in order once the negative ones are turned around.
  const pattern = asBits[0]!;
  return (pattern >>> 31 ? ~pattern : pattern | 0x80000000) >>> 0;
}

/** The places of f32 values in ascending order, by a radix sort: comparing is slow where indices have to be sorted. */
function ascending(values: Float64Array): Uint32Array {
  const n = values.length;
  let order = new Uint32Array(n);
  const keys = new Uint32Array(n);
  let isF32 = true;
  for (let i = 0; i < n; i++) {
    order[i] = i;
    asFloat[0] = values[i]!;
    isF32 &&= asFloat[0] === values[i];
    keys[i] = orderedBits(values[i]!);
  }
  if (n < 128 || !isF32) return order.sort((a, b) => values[a]! - values[b]!);
  const starts = new Uint32Array(2049);
  let other = new Uint32Array(n);
  for (const shift of [0, 11, 22]) {
    starts.fill(0);
    for (let i = 0; i < n; i++) starts[((keys[i]! >>> shift) & 2047) + 1]!++;
    for (let digit = 0; digit < 2048; digit++) starts[digit + 1]! += starts[digit]!;
    for (let i = 0; i < n; i++) other[starts[(keys[order[i]!]! >>> shift) & 2047]!++] = order[i]!;
    [order, other] = [other, order];
  }
  return order;
}

function joined(sorted: Float64Array, weights: Float64Array | undefined): SortedPoints {
  const value = new Float64Array(sorted.length);
  const weight = new Float64Array(sorted.length);
  let n = 0;
  for (let i = 0; i < sorted.length; i++) {
    if (n === 0 || sorted[i] !== value[n - 1]) value[n++] = sorted[i]!;
    weight[n - 1]! += weights ? weights[i]! : 1;
  }
  return { value: value.subarray(0, n), weight: weight.subarray(0, n) };
}

/**
 * At most `bins` points with the weight and the mean of the points they stand for: half of them evenly spread over the values, half
 * over the weight, so that neither a rare outlier nor a crowded middle is merged away.
 */
export function binned(points: SortedPoints, bins: number): SortedPoints {
  const { value, weight } = points;
  const n = value.length;
  if (n <= bins) return points;
  const total = weight.reduce((sum, w) => sum + w, 0);
  const low = value[0]!;
  const width = (value[n - 1]! - low) / (bins / 2);
  const share = total / (bins / 2);
  let before = 0;
  const out = { value: new Float64Array(bins + 2), weight: new Float64Array(bins + 2) };
  let at = -1;
  let lastPlace = -1;
  let lastShare = -1;
  for (let i = 0; i < n; i++) {
    const place = Math.floor((value[i]! - low) / width);
    const part = Math.floor(before / share);
    before += weight[i]!;
    if (place !== lastPlace || part !== lastShare) at++;
    lastPlace = place;
    lastShare = part;
    out.value[at]! += weight[i]! * value[i]!;
    out.weight[at]! += weight[i]!;
  }
  const count = at + 1;
  return {
    value: out.value.subarray(0, count).map((sum, i) => sum / out.weight[i]!),
    weight: out.weight.subarray(0, count),
  };
}
