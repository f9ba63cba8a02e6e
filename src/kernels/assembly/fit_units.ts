// Wished levels to codes under a unit. See quantize/rounding/fit-units.ts, whose operations these are, in their order.
import { storableHalf } from './half';

/** Grids that are tried; keep in step with the reference. */
const GRIDS: i32 = 96;

const inverses: usize = memory.data(2 * (96 + 2) * 8, 16); // f64[196]
const wish: usize = memory.data(64 * 8, 16); // f64[64]
const weight: usize = memory.data(64 * 8, 16); // f64[64]

@inline
function nearestCode(x: f64, lowest: f64, highest: f64): f64 {
  return x <= lowest ? lowest : x >= highest ? highest : nearest<f64>(x);
}

/**
 * The best unit and codes for a run of `shared` (<= 64) levels.
 * wished, weights: f32[shared] -> units: f32[1], codes: i16[shared], values: f32[shared]
 */
export function fit_unit(
  wished: usize, weights: usize, shared: i32, lowest: i32, highest: i32, unit: usize, codes: usize, values: usize,
): void {
  let positive = false;
  for (let g = 0; g < shared; g++) {
    const w = load<f32>(weights + (<usize>g << 2));
    store<f64>(wish + (<usize>g << 3), <f64>load<f32>(wished + (<usize>g << 2)));
    store<f64>(weight + (<usize>g << 3), <f64>w);
    positive = positive || w > 0;
  }
  if (!positive) for (let g = 0; g < shared; g++) store<f64>(weight + (<usize>g << 3), 1);
  const found = bestUnit(shared, <f64>lowest, <f64>highest);
  const inverse: f64 = found == 0 ? 0 : 1 / <f64>found;
  store<f32>(unit, found);
  for (let g = 0; g < shared; g++) {
    const code = nearestCode(load<f64>(wish + (<usize>g << 3)) * inverse, <f64>lowest, <f64>highest);
    store<i16>(codes + (<usize>g << 1), <i16>code);
    store<f32>(values + (<usize>g << 2), <f32>(<f64><i32>code * <f64>found));
  }
}

function bestUnit(shared: i32, lowest: f64, highest: f64): f32 {
  let extreme: f64 = 0;
  for (let g = 0; g < shared; g++) {
    const x = load<f64>(wish + (<usize>g << 3));
    if (abs(x) > abs(extreme)) extreme = x;
  }
  if (extreme == 0) return 0;

  const top = max(highest, -lowest);
  let tried: i32 = 0;
  for (let i = 0; i <= GRIDS; i++) {
    const code = top * (1.25 - (0.75 * <f64>i) / <f64>GRIDS);
    store<f64>(inverses + (<usize>tried << 3), (lowest < 0 ? -code : code) / extreme);
    tried++;
    if (!(lowest < 0 && code > highest)) continue;
    store<f64>(inverses + (<usize>tried << 3), code / extreme);
    tried++;
  }
  // The last one may be tried twice: that finds nothing better.
  store<f64>(inverses + (<usize>tried << 3), load<f64>(inverses + (<usize>(tried - 1) << 3)));

  const low = f64x2.splat(lowest), high = f64x2.splat(highest);
  let unit: f64 = 0, best: f64 = 0;
  for (let i = 0; i < tried; i += 2) {
    const inverse = v128.load(inverses + (<usize>i << 3));
    let product = f64x2.splat(0), square = product;
    for (let g: usize = 0, end = <usize>shared << 3; g < end; g += 8) {
      const x = v128.load64_splat(wish + g);
      const code = f64x2.nearest(f64x2.pmax(f64x2.pmin(f64x2.mul(x, inverse), high), low));
      const weighted = f64x2.mul(v128.load64_splat(weight + g), code);
      product = f64x2.add(product, f64x2.mul(weighted, x));
      square = f64x2.add(square, f64x2.mul(weighted, code));
    }
    for (let lane = 0; lane < 2; lane++) {
      const p = lane == 0 ? f64x2.extract_lane(product, 0) : f64x2.extract_lane(product, 1);
      const s = lane == 0 ? f64x2.extract_lane(square, 0) : f64x2.extract_lane(square, 1);
      if (s == 0 || p * p <= best * s) continue;
      best = (p * p) / s;
      unit = p / s;
    }
  }
  return storableHalf(unit);
}
