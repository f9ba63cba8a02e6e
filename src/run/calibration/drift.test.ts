/** Drift captured beside statistics, against sums in f64 over the inputs and streams that both walks show. */
import { afterAll, describe, expect, test } from 'vitest';
import { syntheticModel } from '../../format/synthetic.fixture.ts';
import type { WeightReader } from '../../graph/index.ts';
import { inputGroups } from '../../model/index.ts';
import { weightReader } from '../weights.ts';
import type { LayerWalk, Look } from './types.ts';
import { openWalk } from './walk.ts';

const [samples, context] = [3, 8];
const tokens = samples * context;
const model = await syntheticModel();
const spec = model.spec!;
const source = weightReader(model);
/** The weights of layer 0, coarser. */
const coarse: WeightReader = async (name) => {
  const weight = await source(name);
  return name.includes('layers.0.') && name.includes('proj.weight') ? weight.map((x) => Math.round(x * 20) / 20) : weight;
};
const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 7919 + 3) % spec.vocab);
afterAll(() => source.close?.());

const walkAt = async (weights: WeightReader, layers: number): Promise<LayerWalk> => {
  const walk = await openWalk(spec, source, ids, { samples, context });
  for (let layer = 0; layer < layers; layer++) await walk.advance(weights);
  return walk;
};

/** (1 / tokens) sum of (a - b)' x in f64: [columns of a, columns of x]. */
function crossRef(a: Float32Array, b: Float32Array, x: Float32Array): Float64Array {
  const [rows, cols] = [a.length / tokens, x.length / tokens];
  const sums = new Float64Array(rows * cols);
  for (let t = 0; t < tokens; t++)
    for (let i = 0; i < rows; i++) {
      const difference = a[t * rows + i]! - b[t * rows + i]!;
      for (let j = 0; j < cols; j++) sums[i * cols + j]! += (difference * x[t * cols + j]!) / tokens;
    }
  return sums;
}

function expectClose(found: Float32Array, exact: Float64Array): void {
  expect(found.length).toBe(exact.length);
  const largest = exact.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  const worst = found.reduce((most, v, i) => Math.max(most, Math.abs(v - exact[i]!)), 0);
  expect(largest).toBeGreaterThan(0);
  // Sums of 24 products in f32.
  expect(worst / largest).toBeLessThan(1e-5);
}

const values = ({ data }: { data: unknown }) => data as Float32Array;

describe('drift in front of layer 1, layer 0 being coarser', async () => {
  const groups = inputGroups(spec, 1);

  /** What a walk shows of the layer; all sequences pass at once. */
  const shown = async (weights: WeightReader): Promise<Look> => {
    const walk = await walkAt(weights, 1);
    const looks: Look[] = [];
    for await (const one of walk.look(source, groups, { move: false, residuals: true })) looks.push(one);
    await walk.close();
    expect(looks).toHaveLength(1);
    return looks[0]!;
  };

  test('inputs of all linears, and the streams that o and down are added to', async () => {
    const [theirs, ours] = [await shown(source), await shown(coarse)];
    const [original, walk] = [await walkAt(source, 1), await walkAt(coarse, 1)];
    const captured = await walk.capture(source, groups, ['hessian'], {
      original: { walk: original, weights: source, move: true },
    });
    expect([original.layer, walk.layer]).toEqual([2, 1]);
    expect(groups.map(({ residual }) => residual)).toEqual([undefined, 'hidden', undefined, 'middle']);
    for (const [i, { drift, tokens: seen }] of captured.entries()) {
      expect(seen).toBe(tokens);
      const x = values(ours.inputs[i]!);
      expectClose(drift!.input, crossRef(values(theirs.inputs[i]!), x, x));
      expect(drift!.residual === undefined).toBe(groups[i]!.residual === undefined);
      if (drift!.residual) expectClose(drift!.residual, crossRef(values(theirs.residuals[i]!), values(ours.residuals[i]!), x));
    }
    await Promise.all([original.close(), walk.close()]);
  });

  test('statistics are those of the quantized inputs, and without drift the same', async () => {
    const of = async (weights: WeightReader, beside: boolean) => {
      const [original, walk] = [await walkAt(source, 1), await walkAt(weights, 1)];
      const [first] = await walk.capture(
        source,
        groups,
        ['hessian'],
        beside ? { original: { walk: original, weights: source } } : {},
      );
      await Promise.all([original.close(), walk.close()]);
      return first!;
    };
    const [exact, moved, plain] = [await of(source, true), await of(coarse, true), await of(coarse, false)];
    expect(exact.drift!.input.every((v) => v === 0)).toBe(true);
    expect(moved.hessian).toEqual(plain.hessian);
    expect(moved.hessian).not.toEqual(exact.hessian);
    expect(plain.drift).toBeUndefined();
  });
});
