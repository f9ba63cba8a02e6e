import { expect, test } from 'vitest';
import { syntheticModel } from '../../format/synthetic.fixture.ts';
import { MemoryStore } from '../../io/index.ts';
import { plan } from '../../recipe/plan.ts';
import type { RecipeInput } from '../../recipe/schema.ts';
import { placeOf } from '../publish.ts';
import { rewriteModel } from './rewrite.ts';

const recipe: RecipeInput = {
  version: 1,
  container: 'fewbits',
  transforms: [{ kind: 'quarot' }],
  scheme: { kind: 'storage', type: 'q8_0' },
};

/** A store whose process is killed in the middle of its first append. */
class Killed extends MemoryStore {
  #alive = false;
  override async append(name: string, bytes: Uint8Array): Promise<void> {
    if (this.#alive) return super.append(name, bytes);
    this.#alive = true;
    await super.append(name, bytes.subarray(0, bytes.length >> 1));
    throw new Error('killed');
  }
}

test('a run that is killed while it writes down what the transforms did does them again', async () => {
  const store = new Killed('memory');
  const place = placeOf(await plan(await syntheticModel(), recipe, { output: 'out' }), store, 'key');
  const options = { say: () => undefined };
  await expect(rewriteModel(place, options)).rejects.toThrow('killed');
  const { records } = await rewriteModel(place, options);
  expect(records).toEqual([{ kind: 'quarot', skipped: [] }]);
  expect(await store.list()).toEqual(['out.unfinished/rewritten.json', 'out.unfinished/rewritten.safetensors']);
});
