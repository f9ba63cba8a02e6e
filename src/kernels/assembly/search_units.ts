// The unit of a super-block's levels. See ref/search/units.ref.ts.
import { storableHalf } from './half';
import { finite4, nearestWhole } from './search_grid';

const products: usize = memory.data(16, 16);
const squares: usize = memory.data(16, 16);

/** wished, weights: f32[groups]; four places are tried at once, one a lane. `count` is a multiple of 4. */
export function fitUnit(
  wished: usize, weights: usize, groups: usize, lowest: f32, highest: f32, from: f32, step: f32, count: i32,
): f32 {
  let extreme: f32 = 0;
  for (let g: usize = 0; g < groups << 2; g += 4) {
    const wish = load<f32>(wished + g);
    if (abs(wish) > abs(extreme)) extreme = wish;
  }
  const low = f32x4.splat(lowest), high = f32x4.splat(highest);
  let unit: f32 = 0, best: f32 = 0;
  for (let i: i32 = 0; i < count; i += 4) {
    const index = f32x4.add(f32x4.splat(<f32>i), f32x4(0, 1, 2, 3));
    const place = f32x4.add(f32x4.splat(from), f32x4.mul(f32x4.splat(step), index));
    const inverse = finite4(f32x4.div(place, f32x4.splat(extreme)));
    let product = f32x4.splat(0), square = product;
    for (let g: usize = 0; g < groups << 2; g += 4) {
      const wish = v128.load32_splat(wished + g);
      const code = nearestWhole(f32x4.mul(wish, inverse), low, high);
      const weighted = f32x4.mul(v128.load32_splat(weights + g), code);
      product = f32x4.add(product, f32x4.mul(weighted, wish));
      square = f32x4.add(square, f32x4.mul(weighted, code));
    }
    v128.store(products, product);
    v128.store(squares, square);
    for (let lane: usize = 0; lane < 16; lane += 4) {
      const p = load<f32>(products + lane), s = load<f32>(squares + lane);
      if (!(s > 0 && p * p > best * s)) continue;
      unit = p / s;
      best = unit * p;
    }
  }
  return storableHalf(<f64>unit);
}
