import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { calibrationText, defaultModel } from '#run/embedded';
import { compare } from '../../evaluate/index.ts';
import { open } from '../../format/index.ts';
import { randomTensor, syntheticBag } from '../../format/synthetic.fixture.ts';
import type { Model } from '../../format/types.ts';
import { loadKernels } from '../../kernels/index.ts';
import { Random } from '../../numeric/index.ts';
import { hessianOf } from '../../quantize/transform/output-loss.ts';
import { tensorGroups } from '../../recipe/budget/groups.ts';
import { parseRecipe } from '../../recipe/schema.ts';
import { languageModel } from '../language.ts';
import { RowReader } from '../row-reader.ts';
import { relativeErrors } from './errors.ts';
import { changeOf, checkSensitivities, measureSensitivities, sensitivityWarnings, withScales } from './measure.ts';
import { roundTrip } from './round-trip.ts';
import { Trial } from './trial.ts';
import { sensitivityWindows } from './windows.ts';

const gguf = parseRecipe({ version: 1, container: 'gguf' });
const q4 = { kind: 'storage', type: 'q4_k' } as const;

describe('errors of one matrix', () => {
  test('by a Hessian, by mean squares, by nothing: the sums of their definitions', async () => {
    const [rows, cols] = [24, 256];
    const bag = await syntheticBag([['a', randomTensor([rows, cols], 3)]]);
    const tensor = bag.tensors[0]!;
    const kernels = await loadKernels();
    const reader = new RowReader();
    const random = new Random(4);
    const inputs = Float32Array.from({ length: 400 * cols }, (_, i) => random.gaussian() * (i % cols < 8 ? 6 : 1));
    const hessian = hessianOf(inputs, cols);
    const meansquare = Float32Array.from({ length: cols }, (_, i) => hessian[i * (cols + 1)]!);
    const w = await reader.rows(
      tensor.stored,
      Int32Array.from({ length: rows }, (_, i) => i),
    );
    const back = roundTrip(kernels, q4, w, cols, 'a');
    const e = w.map((value, i) => value - back[i]!);
    const quadratic = (x: Float32Array, weight: (i: number, j: number) => number) => {
      let sum = 0;
      for (let r = 0; r < rows; r++)
        for (let i = 0; i < cols; i++)
          for (let j = 0; j < cols; j++) if (weight(i, j) !== 0) sum += x[r * cols + i]! * weight(i, j) * x[r * cols + j]!;
      return sum;
    };
    const expected = (weight: (i: number, j: number) => number) => quadratic(e, weight) / quadratic(w, weight);
    const measured = async (known: object) => {
      const { errors, measure } = await relativeErrors(kernels, reader, tensor, [q4], known);
      return [measure, errors[0]!] as const;
    };
    const close = (found: readonly [string, number], measure: string, value: number) => {
      expect(found[0]).toBe(measure);
      expect(Math.abs(found[1] / value - 1)).toBeLessThan(1e-4);
    };
    close(
      await measured({ hessian }),
      'hessian',
      expected((i, j) => hessian[i * cols + j]!),
    );
    close(
      await measured({ meansquare }),
      'meansquare',
      expected((i, j) => (i === j ? meansquare[i]! : 0)),
    );
    close(
      await measured({}),
      'weights',
      expected((i, j) => (i === j ? 1 : 0)),
    );
    await reader.close();
  });

  test('a bag is measured by its weights; each bit more loses less', async () => {
    const bag = await syntheticBag([['a', randomTensor([64, 256], 1)]]);
    const found = await measureSensitivities(bag, gguf);
    expect(found).toMatchObject({ unit: 'error', container: 'gguf', tokens: { statistics: 0, probes: 0 } });
    const [group] = found.groups;
    expect(group).toMatchObject({ tensors: ['a'], measure: 'weights', scale: 1, probes: [] });
    const error = (type: string) => group!.choices.find(({ scheme }) => scheme.kind === 'storage' && scheme.type === type)!.error;
    const types = ['q2_k', 'q3_k', 'q4_k', 'q5_k', 'q6_k', 'q8_0'];
    for (const [i, type] of types.slice(1).entries()) expect(error(type)).toBeLessThan(error(types[i]!) / 2);
    await expect(checkSensitivities(found, bag, gguf, 's')).resolves.toBeUndefined();
    await expect(checkSensitivities(found, bag, parseRecipe({ version: 1 }), 's')).rejects.toThrow(/for the container gguf/);
    const other = await syntheticBag([['b', randomTensor([64, 256], 1)]]);
    await expect(checkSensitivities(found, other, gguf, 's')).rejects.toThrow(/on another model/);
  });
});

test('a KL within its noise makes no group free: the scale is that of the noise, and at least 1 % of the median', () => {
  const group = (name: string, kl: number, klError: number) => ({
    ...{ tensors: [name], measure: 'hessian' as const, scale: 1, choices: [] },
    probes: [{ scheme: 'q4_k', error: 0.01, kl, klError }],
  });
  const lossless = { tensors: ['e'], measure: 'hessian' as const, scale: 1, choices: [], probes: [] };
  const groups = withScales([
    group('a', 2e-3, 1e-4),
    group('b', 4e-3, 1e-4),
    group('c', -3e-5, 1e-4),
    group('d', -1e-6, 1e-9),
    group('f', 3e-3, 1e-4),
    lossless,
  ]);
  expect(groups.map(({ scale }) => scale)).toEqual([0.2, 0.4, 0.01, 0.002, 0.3, 0].map((scale) => expect.closeTo(scale, 12)));
  expect(groups.map(({ floored }) => floored ?? false)).toEqual([false, false, true, true, false, false]);
  expect(sensitivityWarnings({ groups })).toEqual([expect.stringMatching(/KL of 2 of 6 groups is within its noise.*: c, d;/)]);
  expect(sensitivityWarnings({ groups: groups.slice(0, 2) })).toEqual([]);
});

describe('on the default model', () => {
  let model: Model;
  const text = readFileSync(calibrationText, 'utf8').slice(0, 30_000);
  beforeAll(async () => {
    model = await open(defaultModel);
  });
  afterAll(() => model.close());

  test('statistics and probes do not share windows', async () => {
    const windows = sensitivityWindows(model.spec!, await model.tokenizer(), text, { context: 128 });
    const count = windows.probes.ids.length / 128;
    expect(count).toBeGreaterThanOrEqual(2);
    const ids = (await model.tokenizer()).encode(text);
    expect(windows.statistics.ids.length + windows.probes.ids.length).toBeLessThanOrEqual(ids.length);
    expect([...windows.probes.ids]).toEqual([...ids.slice(ids.length - windows.probes.ids.length)]);
  });

  test('a trial measures what compare measures, and puts the weights back', async () => {
    const tensors = tensorGroups(model, gguf).flatMap((group) => group.tensors);
    const kernels = await loadKernels();
    const tokenizer = await model.tokenizer();
    const piece = text.slice(0, 6000);
    const ids = tokenizer.encode(piece);
    const count = Math.floor(ids.length / 64);
    const trial = await Trial.open(model);
    const change = changeOf(kernels, tensors, q4);
    const [first, again] = await trial.divergences(ids.slice(0, count * 64), 64, [change, change]);
    const [none] = await trial.divergences(ids.slice(0, count * 64), 64, [new Map()]);
    await trial.close();
    expect(again).toEqual(first);
    expect(none).toMatchObject({ kl: 0, sameTop: 1 });

    const weights = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    const exchanged: Model = {
      ...model,
      tensors: await Promise.all(
        model.tensors.map(async (tensor) => {
          if (!weights.has(tensor.name)) return tensor;
          const reader = new RowReader();
          const { rows, cols } = tensor.stored;
          const values = await reader.rows(
            tensor.stored,
            Int32Array.from({ length: rows }, (_, i) => i),
          );
          await reader.close();
          const back = roundTrip(kernels, q4, values, cols, tensor.name);
          return { ...tensor, stored: { rows, cols, form: 'values' as const, values: back } };
        }),
      ),
    };
    const [reference, quantized] = [await languageModel(model), await languageModel(exchanged)];
    const result = await compare(reference, [quantized], tokenizer, piece, { protocol: 'strided', context: 64 });
    await Promise.all([reference.close(), quantized.close()]);
    expect(first!.tokens).toBe(result.models[0]!.tokens);
    expect(first!.kl).toBeCloseTo(result.models[0]!.kl.mean, 8);
    expect(first!.sameTop).toBeCloseTo(result.models[0]!.sameTop, 12);
  });

  test('predicted losses add up: the KL of all groups at once is near their sum', async () => {
    const tokenizer = await model.tokenizer();
    const windows = sensitivityWindows(model.spec!, tokenizer, text, { context: 128 });
    const measured = await measureSensitivities(model, gguf, { windows });
    expect(measured.unit).toBe('kl');
    const groups = tensorGroups(model, gguf);
    const predicted = measured.groups.reduce((sum, { scale, choices }) => {
      const choice = choices.find(({ scheme }) => scheme.kind === 'storage' && scheme.type === 'q4_k')!;
      return sum + scale * choice.error;
    }, 0);
    const kernels = await loadKernels();
    const trial = await Trial.open(model);
    const all = changeOf(
      kernels,
      groups.flatMap(({ tensors }) => tensors),
      q4,
    );
    const [found] = await trial.divergences(windows.probes.ids, windows.probes.context, [all]);
    await trial.close();
    expect(found!.kl / predicted).toBeGreaterThan(0.8);
    expect(found!.kl / predicted).toBeLessThan(1.25);
  });
});
