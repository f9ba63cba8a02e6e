/** The search for blocks of 4-bit floats: neighbouring scales compete by what all values lose. */
import { e2m1Codes, halfOfUe4m3 } from '../e2m1.ref.ts';
import { exponentOf, mxfp4, packMxfp4 } from '../mxfp4.ref.ts';
import { nvfp4Scale, packGroup } from '../nvfp4.ref.ts';
import { loss } from './loss.ref.ts';

const f = Math.fround;

/** Exponents beside that of the OCP rule: one above, where nothing is clipped, and those that clip more. */
const exponents = [1, -1, -2, -3] as const;

/** x, w: [32] */
export function searchMxfp4(x: Float32Array, w: Float32Array, out: Uint8Array): void {
  const first = exponentOf(x);
  let least = Number.POSITIVE_INFINITY;
  for (const step of exponents) {
    const trial = new Uint8Array(17);
    packMxfp4(x, Math.min(Math.max(first + step, 0), 254), trial);
    const lost = loss(x, mxfp4.decode(trial, 32), w);
    if (!(lost < least)) continue;
    least = lost;
    out.set(trial);
  }
}

/** How far below and above the scale that puts the largest value on 6; eight bytes are a factor of 2. */
const [BELOW, ABOVE] = [10, 6] as const;

/** The last byte of a positive scale is 126. x, w: [64] */
export function searchNvfp4(x: Float32Array, w: Float32Array, out: Uint8Array): void {
  for (let g = 0; g < 4; g++) {
    const [values, weights] = [x.subarray(16 * g, 16 * g + 16), w.subarray(16 * g, 16 * g + 16)];
    const first = nvfp4Scale(values);
    packGroup(g, first, e2m1Codes(values, halfOfUe4m3(first)), out);
    let least = lossUnder(values, weights, first, e2m1Codes(values, halfOfUe4m3(first)));
    for (let byte = Math.max(first - BELOW, 1); byte <= Math.min(first + ABOVE, 126); byte++) {
      const codes = magnitudeCodes(values, halfOfUe4m3(byte));
      const lost = lossUnder(values, weights, byte, codes);
      if (!(lost < least)) continue;
      least = lost;
      packGroup(g, byte, codes, out);
    }
  }
}

/** Twice the values of E2M1 that are not negative, and the midpoints between them. */
const doubled = [0, 1, 2, 3, 4, 6, 8, 12] as const;
const midpoints = [0.5, 1.5, 2.5, 3.5, 5, 7, 10] as const;

/** As ggml's nearest codes, but values far beyond the largest get it, too: there ggml's differences are all equal. */
function magnitudeCodes(x: Float32Array, halfScale: number): Uint8Array {
  return Uint8Array.from(x, (v) => {
    const code = midpoints.filter((middle) => Math.abs(v) > f(middle * halfScale)).length;
    return code > 0 && v < 0 ? code + 8 : code;
  });
}

function lossUnder(x: Float32Array, w: Float32Array, byte: number, codes: Uint8Array): number {
  const values = Float32Array.from(codes, (code) => (code < 8 ? 1 : -1) * doubled[code & 7]! * halfOfUe4m3(byte));
  return loss(x, values, w);
}
