import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { StorageType } from '../../tensor/storage.ts';
import { blockOrder } from './tensor-order.ts';
import { chooseTypes, type FileType, fileTypeNamed, fileTypeOf, fileTypes } from './types.ts';

interface Shape {
  arch: string;
  kv: Record<string, number>;
  /** Innermost first, as ggml counts. */
  tensors: Record<string, number[]>;
  types: Record<string, Record<string, string | number | boolean>>;
  types_with_imatrix: Record<string, Record<string, string | number | boolean>>;
}

const golden = <T>(name: string): T =>
  JSON.parse(readFileSync(new URL(`../../../test/golden/gguf/${name}`, import.meta.url), 'utf8'));

const { shapes } = golden<{ shapes: Record<string, Shape> }>('tensor-types.json');

function tensorsOf(shape: Shape): { ggufName: string; shape: number[]; type: StorageType }[] {
  return Object.entries(shape.tensors).flatMap(([pattern, ne]) => {
    const names = pattern.includes('*')
      ? Array.from({ length: shape.kv['block_count']! }, (_, layer) => pattern.replace('*', `${layer}`))
      : [pattern];
    const type: StorageType = ne.length > 1 ? 'f16' : 'f32';
    return names.map((ggufName) => ({ ggufName, shape: ne.toReversed(), type }));
  });
}

/** 'q6_K*2 q4_K' -> [q6_k, q6_k, q4_k]; one value stands for all layers. */
function runs(text: string, count: number): string[] {
  const list = text.split(' ').flatMap((run) => {
    const [type, times = '1'] = run.split('*');
    return new Array<string>(Number(times)).fill(type!.toLowerCase());
  });
  return list.length === 1 ? new Array<string>(count).fill(list[0]!) : list;
}

describe.each(Object.entries(shapes))('types of %s', (_, shape) => {
  const tensors = tensorsOf(shape);
  const layers = shape.kv['block_count']!;
  const cases = (Object.keys(fileTypes) as FileType[]).flatMap((fileType) =>
    [false, true].flatMap((imatrix) => {
      const key = fileType.toUpperCase();
      const want = (imatrix ? shape.types_with_imatrix[key] : undefined) ?? shape.types[key];
      return want ? [{ fileType, imatrix, want }] : [];
    }),
  );

  test('golden data covers the file types', () => expect(cases.length).toBeGreaterThanOrEqual(44));

  test.each(cases)('$fileType, importance matrix $imatrix', ({ fileType, imatrix, want }) => {
    const choose = () =>
      chooseTypes({
        architecture: shape.arch,
        layers,
        heads: shape.kv['attention.head_count']!,
        kvHeads: shape.kv['attention.head_count_kv']!,
        experts: shape.kv['expert_count'] ?? 0,
        tensors,
        fileType,
        imatrix,
      });
    if (want['error']) {
      expect(choose).toThrow(/no type stands in for it/);
      return;
    }
    const choices = choose();
    const got = new Map(tensors.map(({ ggufName }, i) => [ggufName, choices[i]!]));
    for (const [pattern, types] of Object.entries(want)) {
      if (!pattern.endsWith('.weight')) continue;
      const count = pattern.includes('*') ? layers : 1;
      const names = Array.from({ length: count }, (_, layer) => pattern.replace('*', `${layer}`));
      expect(names.map((name) => got.get(name)?.type)).toEqual(runs(types as string, count));
    }
    if (want['requires_imatrix']) expect(fileTypes[fileType].needsImatrix).toBe(true);
    expect(choices.filter(({ fallback }) => fallback).length).toBe(want['fallbacks'] ?? 0);
  });
});

interface FileTable {
  fallbacks?: string[];
  tensors: { name: string; type: string; ne: number[] }[];
}

describe('files of llama-quantize', () => {
  const models = [
    { model: 'stories260K', layers: 5, heads: 8, kvHeads: 4 },
    { model: 'tinystories-3.7m', layers: 4, heads: 4, kvHeads: 2 },
  ];
  const files = models.flatMap((m) =>
    (Object.keys(fileTypes) as FileType[]).flatMap((fileType) =>
      ['', '.imatrix'].flatMap((suffix) => {
        const name = `${m.model}.${fileType.toUpperCase()}${suffix}.json`;
        try {
          return [{ ...m, name, fileType, imatrix: suffix !== '', file: golden<FileTable>(name) }];
        } catch {
          return [];
        }
      }),
    ),
  );

  test('are there', () => expect(files.length).toBeGreaterThan(20));

  test.each(files)('$name', ({ file, fileType, imatrix, layers, heads, kvHeads }) => {
    const tensors = file.tensors.map(({ name, ne }) => ({ ggufName: name, shape: ne.toReversed() }));
    const choices = chooseTypes({ architecture: 'llama', layers, heads, kvHeads, tensors, fileType, imatrix });
    expect(choices.map(({ type }) => type.toUpperCase())).toEqual(file.tensors.map(({ type }) => type));
    if (fileType !== 'f16') {
      const names = file.tensors.map(({ name }) => name);
      expect(names.toSorted(blockOrder)).toEqual(names);
    }
    if (!file.fallbacks) return;
    const said = choices.flatMap(({ type, wanted, fallback }, i) =>
      fallback ? [`${tensors[i]!.ggufName}: ${wanted} -> ${type} (ne0 ${tensors[i]!.shape.at(-1)})`] : [],
    );
    expect(said.map((line) => line.toLowerCase())).toEqual(file.fallbacks.map((line) => line.toLowerCase()));
  });
});

test('pure gives one type to all, with fallbacks', () => {
  const tensors = [
    { ggufName: 'token_embd.weight', shape: [512, 256] },
    { ggufName: 'blk.0.attn_v.weight', shape: [64, 64] },
    { ggufName: 'blk.0.attn_norm.weight', shape: [64] },
  ];
  const choices = chooseTypes({
    architecture: 'llama',
    layers: 1,
    heads: 4,
    kvHeads: 4,
    tensors,
    fileType: 'q4_k_m',
    imatrix: false,
    pure: true,
  });
  expect(choices.map(({ type }) => type)).toEqual(['q4_k', 'q5_0', 'f32']);
});

test('file types by name and number', () => {
  expect(fileTypeNamed('Q4_K_M')).toBe('q4_k_m');
  expect(fileTypeNamed('q5_k')).toBe('q5_k_m');
  expect(() => fileTypeNamed('constructor')).toThrow(/no such GGUF file type/);
  expect(fileTypeOf(15)).toBe('q4_k_m');
  expect(fileTypeOf(999)).toBeUndefined();
  // llama.cpp has a number for NVFP4 files, and no mixture.
  expect(fileTypeOf(39)).toBe('nvfp4');
  expect(() => fileTypeNamed('nvfp4')).toThrow(/no such GGUF file type/);
});
