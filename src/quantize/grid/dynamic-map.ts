/**
 * The 256 values of bitsandbytes' 8-bit "dynamic" type: a sign, a unary exponent of 10, and what is left of the bits as a linear
 * fraction (Dettmers, arXiv 1511.04561, and functional.create_dynamic_map, 0.50.2, MIT). Ascending, f32 to the last bit.
 */
export function dynamicMap(): Float32Array {
  const exponents = 7;
  const values = [0, 1];
  for (let i = 0; i < exponents; i++) {
    const power = Math.fround(10 ** (i - exponents + 1));
    for (const mean of middles(2 ** i + 1)) values.push(Math.fround(power * mean), Math.fround(-power * mean));
  }
  return Float32Array.from(values).sort();
}

/** Middles between n evenly spaced values from 0.1 to 1, which torch.linspace counts from the nearer end, each one fused operation. [n - 1] */
function middles(n: number): number[] {
  const low = Math.fround(0.1);
  const step = Math.fround(Math.fround(1 - low) / (n - 1));
  const edge = (i: number) => Math.fround(i < Math.floor(n / 2) ? low + step * i : 1 - step * (n - 1 - i));
  return Array.from({ length: n - 1 }, (_, i) => Math.fround(Math.fround(edge(i) + edge(i + 1)) / 2));
}
