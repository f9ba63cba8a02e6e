import { expect, test } from 'vitest';
import { Random } from '../../numeric/random.ts';
import type { StatisticKind } from '../statistics.ts';
import { changedStatistic, inputChanges, kindBefore } from './inputs.ts';
import { applyOperations, type TensorOperation } from './operations.ts';
import { hessianOf } from './output-loss.ts';
import { randomRotation } from './rotation.ts';

const [rows, width, tokens] = [6, 24, 400];
const random = new Random(11);
const weight = Float32Array.from({ length: rows * width }, () => random.gaussian());
const samples = Float32Array.from({ length: tokens * width }, (_, i) => random.gaussian() * (1 + (i % width)) + (i % 3));
const positive = (seed: number) => {
  const from = new Random(seed);
  return Float32Array.from({ length: width }, () => Math.exp(from.gaussian()));
};

const operations: TensorOperation[] = [
  { kind: 'scale', tensor: 'w', axis: 'columns', by: positive(1) },
  { kind: 'scale', tensor: 'w', axis: 'columns', by: positive(2), divide: true },
  { kind: 'rotate', tensor: 'w', axis: 'columns', rotation: randomRotation(width, 3) },
  { kind: 'scale', tensor: 'other', axis: 'columns', by: positive(4) },
  { kind: 'rotate', tensor: 'w', axis: 'columns', rotation: randomRotation(4, 5), stride: 3 },
];

/** What each kind is, from the inputs themselves in f64. */
const from: Partial<Record<StatisticKind, (x: Float32Array) => Float32Array>> = {
  hessian: (x) => hessianOf(x, width),
  samples: (x) => x,
  meansquare: (x) => column((c) => sum(x, c, (v) => v * v) / tokens),
  absmean: (x) => column((c) => sum(x, c, Math.abs) / tokens),
  absmax: (x) => column((c) => most(x, c, Math.abs)),
  max: (x) => column((c) => most(x, c, (v) => v)),
  min: (x) => column((c) => -most(x, c, (v) => -v)),
};
const column = (of: (c: number) => number) => Float32Array.from({ length: width }, (_, c) => of(c));
const sum = (x: Float32Array, c: number, of: (v: number) => number) =>
  x.reduce((all, v, at) => all + (at % width === c ? of(v) : 0), 0);
const most = (x: Float32Array, c: number, of: (v: number) => number) =>
  x.reduce((all, v, at) => (at % width === c ? Math.max(all, of(v)) : all), -Infinity);

function outputs(w: Float32Array, x: Float32Array): Float64Array {
  return Float64Array.from({ length: tokens * rows }, (_, at) => {
    const [t, r] = [Math.floor(at / rows), at % rows];
    let total = 0;
    for (let c = 0; c < width; c++) total += x[t * width + c]! * w[r * width + c]!;
    return total;
  });
}

const span = { name: 'w', shape: [rows, width], from: 0, to: rows } as const;

test('changed inputs times the changed weight give what both gave before', () => {
  const changes = inputChanges(operations, 'w');
  expect(changes.map(({ kind }) => kind)).toEqual(['scale', 'scale', 'rotate', 'rotate']);
  const x = changedStatistic('samples', samples, width, changes, 'w');
  const before = outputs(weight, samples);
  const after = outputs(applyOperations(weight.slice(), span, operations), x);
  const worst = before.reduce((far, y, i) => Math.max(far, Math.abs(y - after[i]!)), 0);
  expect(worst).toBeLessThan(1e-6 * before.reduce((most, y) => Math.max(most, Math.abs(y)), 0));
});

test.each(['scales', 'scales and rotations'] as const)('%s: statistics are those of the changed inputs', (what) => {
  const changes = inputChanges(what === 'scales' ? operations.slice(0, 2) : operations, 'w');
  const changed = changedStatistic('samples', samples, width, changes, 'w');
  for (const [kind, of] of Object.entries(from) as [StatisticKind, (x: Float32Array) => Float32Array][]) {
    const base = kindBefore(kind, what !== 'scales');
    if (!base) continue;
    const found = changedStatistic(kind, from[base]!(samples), width, changes, 'w');
    const wanted = of(changed);
    const size = Math.max(...wanted.map(Math.abs));
    expect(found.length, kind).toBe(wanted.length);
    for (let i = 0; i < found.length; i++) expect(Math.abs(found[i]! - wanted[i]!), `${kind} ${i}`).toBeLessThan(2e-6 * size);
  }
});

test('behind a rotation only sums of products are known', () => {
  expect(
    ['hessian', 'samples', 'meansquare', 'absmax', 'absmean', 'min', 'max'].map((k) => kindBefore(k as StatisticKind, true)),
  ).toEqual(['hessian', 'samples', 'hessian', undefined, undefined, undefined, undefined]);
});

test('mean squares equal the diagonal of the Hessian to the bit', () => {
  const changes = inputChanges(operations.slice(0, 2), 'w');
  const hessian = from.hessian!(samples);
  const diagonal = column((c) => hessian[c * (width + 1)]!);
  const all = changedStatistic('hessian', hessian, width, changes, 'w');
  expect(changedStatistic('meansquare', diagonal, width, changes, 'w')).toEqual(column((c) => all[c * (width + 1)]!));
  for (let i = 0; i < width; i++) for (let j = 0; j < i; j++) expect(all[i * width + j]).toBe(all[j * width + i]);
});

test('a gain of zero hides what its input was', () => {
  const by = positive(1);
  by[5] = 0;
  const changes = inputChanges([{ kind: 'scale', tensor: 'w', axis: 'columns', by }], 'w');
  expect(() => changedStatistic('absmax', by, width, changes, 'layer 3')).toThrow(
    /layer 3: input 5 was multiplied by a gain of 0/,
  );
});
