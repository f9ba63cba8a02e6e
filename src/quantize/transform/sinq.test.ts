import { expect, test } from 'vitest';
import { llamaSpec } from '../../format/synthetic.fixture.ts';
import { modelFolds } from '../../model/folds.ts';
import { modelTensors } from '../../model/tensors.ts';
import { Random } from '../../numeric/random.ts';
import { sinqScales } from '../sinq.ts';
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
        const shape = [weights.get(name)!.length / fold.width, fold.width] as const;
        const [before] = sinqScales(weights.get(name)!, shape).before;
        const [left] = sinqScales(after.get(name)!, shape).before;
        // Query heads that share a value head share its factors: no worse, but not balanced.
      if (isFolded) expect(left, name).toBeLessThan((fold.heads ? 1 : 0.6) * before!);
        else expect(left, name).toBe(before);
      }
    }
    expect(rewrite.skipped.length).toBe(folds === 'all' ? 0 : 2 * spec.layers);
  },
);
