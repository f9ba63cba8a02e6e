/** What the transforms of a run did to the inputs of linears: kept beside the rewritten weights, so that a run that is continued knows it. */
import { linearOf } from '../../model/index.ts';
import type { StatisticKind, StatisticsReader } from '../../quantize/statistics.ts';
import {
  changedStatistic,
  type InputChange,
  inputChanges,
  kindBefore,
  type ModelRewrite,
  type Rotation,
} from '../../quantize/transform/index.ts';

export interface InputChanges {
  /** Weight -> what happened to its input, in order. */
  byWeight: Map<string, InputChange[]>;
  /** Weight that a transform added -> the one that it is a copy of. */
  copies: Map<string, string>;
}

export function noChanges(): InputChanges {
  return { byWeight: new Map(), copies: new Map() };
}

/** Adds what one more rewrite does. */
export function addChanges({ byWeight }: InputChanges, { operations }: Pick<ModelRewrite, 'operations'>): void {
  for (const name of new Set(operations.map(({ tensor }) => tensor))) {
    const changes = inputChanges(operations, name);
    if (changes.length > 0) byWeight.set(name, [...(byWeight.get(name) ?? []), ...changes]);
  }
}

/** What is known of the model as it was, as statistics of the rewritten one. Closing it closes `before`. */
export function changedReader(before: StatisticsReader, { byWeight, copies }: InputChanges): StatisticsReader {
  const source = (linear: string) => linearOf(copies.get(`${linear}.weight`) ?? `${linear}.weight`);
  const changesOf = (linear: string) => byWeight.get(`${linear}.weight`) ?? [];
  const told = (linear: string, kind: StatisticKind) =>
    kindBefore(
      kind,
      changesOf(linear).some((change) => change.kind === 'rotate'),
    );
  return {
    name: before.name,
    ...(before.provenance && { provenance: before.provenance }),
    linears: () => [...before.linears(), ...[...copies.keys()].map(linearOf)],
    has(linear, kind) {
      const base = told(linear, kind);
      return base !== undefined && before.has(source(linear), base);
    },
    shape(linear, kind) {
      const base = told(linear, kind);
      const shape = base && before.shape(source(linear), base);
      return base === kind ? shape : shape?.slice(-1);
    },
    tokens: (linear) => before.tokens(source(linear)),
    shared: (linear) => before.shared(source(linear)),
    async read(linear, kind) {
      const values = await before.read(source(linear), told(linear, kind) ?? kind);
      const changes = changesOf(linear);
      const width = before.shape(source(linear), told(linear, kind) ?? kind)!.at(-1)!;
      return changes.length === 0 ? values : changedStatistic(kind, values, width, changes, `${before.name}: ${linear}`);
    },
    fingerprint: () => before.fingerprint(),
    close: () => before.close(),
  };
}

/** As JSON: each list of scales once. */
export interface StoredChanges {
  scales: number[][];
  byWeight: Record<string, (StoredScale | StoredRotation)[]>;
  copies: Record<string, string>;
}

type StoredScale = { kind: 'scale'; by: number; divide: boolean };
type StoredRotation = {
  kind: 'rotate';
  stride: number;
  rotation: { kind: 'hadamard'; size: number; signs?: number[] } | { kind: 'orthogonal'; size: number; seed: number };
};

export function storedChanges({ byWeight, copies }: InputChanges): StoredChanges {
  const places = new Map<Float32Array, number>();
  const placeOf = (by: Float32Array) => {
    if (!places.has(by)) places.set(by, places.size);
    return places.get(by)!;
  };
  const stored = [...byWeight].map(([name, changes]) => {
    const list = changes.map((change): StoredScale | StoredRotation =>
      change.kind === 'scale' ? { ...change, by: placeOf(change.by) } : { ...change, rotation: storedRotation(change.rotation) },
    );
    return [name, list] as const;
  });
  return {
    scales: [...places.keys()].map((by) => [...by]),
    byWeight: Object.fromEntries(stored),
    copies: Object.fromEntries(copies),
  };
}

export function changesFrom({ scales, byWeight, copies }: StoredChanges): InputChanges {
  const vectors = scales.map((by) => Float32Array.from(by));
  const restored = Object.entries(byWeight).map(([name, changes]) => {
    const list = changes.map(
      (change): InputChange =>
        change.kind === 'scale' ? { ...change, by: vectors[change.by]! } : { ...change, rotation: rotationFrom(change.rotation) },
    );
    return [name, list] as const;
  });
  return { byWeight: new Map(restored), copies: new Map(Object.entries(copies)) };
}

function storedRotation(rotation: Rotation): StoredRotation['rotation'] {
  if (rotation.kind === 'orthogonal') return rotation;
  const { signs, ...rest } = rotation;
  return { ...rest, ...(signs && { signs: [...signs] }) };
}

function rotationFrom(rotation: StoredRotation['rotation']): Rotation {
  if (rotation.kind === 'orthogonal') return rotation;
  const { signs, ...rest } = rotation;
  return { ...rest, ...(signs && { signs: Int8Array.from(signs) }) };
}
