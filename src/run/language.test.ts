import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { open } from '../format/index.ts';
import type { Model } from '../format/types.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { languageModel } from './language.ts';

const folder = fileURLToPath(new URL('../../models/tinystories-3.7m', import.meta.url));

it('quantizes the inputs of those linears whose tensors say so', async () => {
  const model = await open(folder);
  const input: ActivationScheme = { bits: 4, symmetric: true, dynamic: true, per: 'token' };
  const ids = Int32Array.of(5, 77, 300, 1024, 8);
  const logits = async (which: RegExp) => {
    const tensors = model.tensors.map((tensor) => (which.test(tensor.name) ? { ...tensor, input } : tensor));
    const runnable = await languageModel({ ...model, tensors } as Model, { threads: 1 });
    const result = await runnable.logits(ids, 1, ids.length);
    await runnable.close();
    return result;
  };
  const plain = await logits(/^$/);
  const distance = (y: Float32Array) => Math.sqrt(y.reduce((sum, v, i) => sum + (v - plain[i]!) ** 2, 0) / y.length);
  const [one, all] = [distance(await logits(/layers\.3\.mlp\.down_proj/)), distance(await logits(/_proj\.weight$/))];
  expect(one).toBeGreaterThan(0.01);
  expect(all).toBeGreaterThan(2 * one);
  await model.close();
});
