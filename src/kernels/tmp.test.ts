import { expect, it } from 'vitest';
import { Random } from '../numeric/random.ts';
import { encodeRows } from './encode.ts';
import { blockTypes } from './encoders.ts';
import { loadKernels } from './kernels.ts';
const k = await loadKernels();
it('x', () => {
  for (const m of [1e30, 1e20, 1e18]) { const r = new Random(3); const x = Float32Array.from({ length: 512 }, () => m * r.gaussian()); const w = Float32Array.from({ length: 256 }, () => Math.exp(r.gaussian()));
  const a = encodeRows(k, 'q4_0', x, 256, w), b = blockTypes['q4_0']!.ref.encode(x, 256, w); console.log(m, a.filter((v, i) => v !== b[i]).length);
  const c = encodeRows(k, 'q4_0', x, 256, w, 'search'); console.log(c.filter((v, i) => v !== a[i]).length); }
});
it('speed', () => {
  const r = new Random(3); const rows = 64, cols = 1024; const x = Float32Array.from({ length: rows * cols }, () => 0.02 * r.gaussian()); const w = Float32Array.from({ length: cols }, () => Math.exp(r.gaussian()));
  const a = k.put(x), b = k.put(w), o = k.alloc(rows * cols * 4);
  for (const t of ['q4_0','q4_1','q5_0','q5_1','q8_0','q2_k','q3_k','q4_k','q5_k','q6_k','iq4_nl','iq4_xs']) { const line: string[] = [];
    for (const im of [0, b]) { const ts = ['encode', 'search'].map((n) => { let best = 1e9; for (let i = 0; i < 15; i++) { const t0 = performance.now(); k.call(`${n}_${t}`, a, o, rows, cols, im); best = Math.min(best, performance.now() - t0); } return best * 1e6 / rows / cols; });
      line.push(`${ts[0]!.toFixed(2)} ${ts[1]!.toFixed(2)} ns/value x${(ts[1]! / ts[0]!).toFixed(2)}`); }
    console.log(t, line.join('   im ')); }
});
