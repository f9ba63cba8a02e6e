import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readSpec } from './read-config.ts';
import { ggufRopeFactors } from './rope.ts';
import { llama3ScalingOf } from './rope-factors.ts';
import { configOf } from './write-config.ts';

const golden = new URL('../../test/golden/architectures/', import.meta.url);
const cases = readdirSync(golden).filter((name) => name !== 'README.md');
const specOf = (name: string) => readSpec(JSON.parse(readFileSync(new URL(`${name}/config.json`, golden), 'utf8')));

describe('configOf', () => {
  test.each(cases)('%s reads back as the same model', (name) => {
    const spec = specOf(name);
    expect(readSpec(configOf(spec))).toEqual(spec);
    expect(readSpec(JSON.parse(JSON.stringify(configOf(spec))))).toEqual(spec);
  });

  test('fractions of GGUF files become the decimals they were made from', () => {
    const spec = { ...specOf('llama'), normEpsilon: Math.fround(1e-5) };
    expect(configOf(spec)['rms_norm_eps']).toBe(1e-5);
  });

  test('a sliding window makes a llama of a GGUF file a Mistral again', () => {
    const spec = { ...specOf('mistral'), architecture: 'llama' };
    expect(configOf(spec)).toMatchObject({ model_type: 'mistral', sliding_window: 7 });
  });

  test('what the architecture cannot say is refused by name', () => {
    const spec = specOf('llama');
    expect(() => configOf({ ...spec, bias: { ...spec.bias, q: true } })).toThrow(/no words for this model: bias/);
    expect(() => configOf({ ...spec, window: [7, undefined] })).toThrow(/no words for this model: window/);
    const tensor = { ...spec.rope, scaling: { kind: 'tensor', name: 'rope_freqs.weight' } } as const;
    expect(() => configOf({ ...spec, rope: tensor })).toThrow(/rope factors in a tensor/);
  });
});

test('the parameters of Llama 3 scaling are found from its factors', () => {
  const { rope } = specOf('llama-tied-rope-llama3');
  const factors = ggufRopeFactors({ ...specOf('llama'), rope })!;
  expect(llama3ScalingOf(rope, factors)).toEqual(rope.scaling);
  expect(
    llama3ScalingOf(
      rope,
      factors.map((f, i) => (i === 1 ? f * 1.01 : f)),
    ),
  ).toBeUndefined();
  expect(llama3ScalingOf(rope, factors.slice(1))).toBeUndefined();
});
