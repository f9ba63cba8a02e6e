import { expect, test } from 'vitest';
import { llamaSpec } from '../../format/synthetic.fixture.ts';
import { modelFolds } from '../../model/folds.ts';
import { modelTensors } from '../../model/tensors.ts';
import { Random } from '../../numeric/random.ts';
import { llamaLogits } from './llama.fixture.ts';
import { rewriteWeights } from './rewrite.fixture.ts';
import { sinqFolds } from './sinq.ts';

const spec = llamaSpec;
const random = new Random(11);
const weights = new Map(
  modelTensors(spec).map(({ name, shape }) => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.gaussian());
    const cols = shape[1];
    // Loud and quiet columns: what factors of columns are for.
    return [name, values.map((v, i) => (cols ? (v * ((i % cols) % 7 === 0 ? 8 : 1)) / Math.sqrt(cols) : 1 + v / 10))] as const;
  }),
);
/** Largest over smallest root mean square of a column, every row brought to the same size first. */
function columnSpread(w: Float32Array, cols: number): number {
  const squares = new Float64Array(cols);
  for (let at = 0; at < w.length; at += cols) {
    const row = w.subarray(at, at + cols);
    const size = row.reduce((sum, x) => sum + x * x, 0);
    row.forEach((x, c) => {
      squares[c]! += (x * x) / size;
    });
  }
  return Math.sqrt(Math.max(...squares) / Math.min(...squares));
}
const ids = [1, 5, 9, 2, 7, 3];

test.each(['all', 'norms'] as const)(
  'folds: %s leaves the logits as they are and balances the linears of an input',
  async (folds) => {
    const rewrite = await sinqFolds(spec, { weight: async (name) => weights.get(name)! }, { folds });
    const after = rewriteWeights(spec, weights, rewrite);
    const [expected, found] = [llamaLogits(spec, weights, ids), llamaLogits(spec, after, ids)];
    const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const worst = expected.reduce((most, x, i) => Math.max(most, Math.abs(x - found[i]!)), 0);
    expect(largest).toBeGreaterThan(1);
    expect(worst / largest).toBeLessThan(1e-4);
    for (const fold of modelFolds(spec)) {
      if (fold.layer === spec.layers) continue;
      const isFolded = fold.from.kind === 'norm' || folds === 'all';
      for (const name of fold.to) {
        const [before, left] = [columnSpread(weights.get(name)!, fold.width), columnSpread(after.get(name)!, fold.width)];
        // Query heads that share a value head share its factors: no worse, but not balanced.
        if (isFolded) expect(left, name).toBeLessThan((fold.heads ? 1 : 0.4) * before);
        else expect(left, name).toBeCloseTo(before, 5);
      }
    }
    expect(rewrite.skipped.length).toBe(folds === 'all' ? 0 : 2 * spec.layers);
  },
);
