import { expect, test } from 'vitest';
import { fingerprint, sha256 } from './fingerprint.ts';
import { open } from './open.ts';
import { llamaSpec, randomTensor, syntheticBag, syntheticFolder, syntheticModel } from './synthetic.fixture.ts';

test('tells sources apart by headers, sizes and configuration, not by their place', async () => {
  const of = async (model: Awaited<ReturnType<typeof syntheticModel>>) => fingerprint(model.checkpoint);
  const first = await of(await syntheticModel());
  const store = syntheticFolder();
  await store.rename('model', 'elsewhere/again');
  expect(await of(await open({ store, name: 'elsewhere/again' }))).toBe(first);
  expect(await of(await syntheticModel({ ...llamaSpec, context: 64 }))).not.toBe(first);
  const bag = async (...shape: number[]) => of(await syntheticBag([['a', randomTensor(shape, 1)]]));
  expect(await bag(2, 4)).toBe(await bag(2, 4));
  expect(await bag(2, 4)).not.toBe(await bag(4, 2));
});

test('sha256', async () => {
  expect(await sha256('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});
