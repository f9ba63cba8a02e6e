/** sum w (x - y)^2 in f64: those of even and of odd columns, then both. x, y, w: [n] */
export function loss(x: Float32Array, y: Float32Array, w: Float32Array): number {
  const sums = [0, 0];
  for (let i = 0; i < x.length; i++) sums[i & 1]! += w[i]! * (x[i]! - y[i]!) * (x[i]! - y[i]!);
  return sums[0]! + sums[1]!;
}
