/** The document in `__metadata__` that says how each quantized tensor lies in the file. */
import * as z from 'zod';
import { FormatError } from '../../errors.ts';
import { MAX_ORTHOGONAL } from '../../quantize/transform/rotation.ts';
import type { OnlineRotation } from '../../quantize/transform/types.ts';
import type { TileForm } from '../../quantized/form.ts';
import type { ActivationScheme, KvScheme } from '../../quantized/types.ts';
import { isStorageType, type StorageType } from '../../tensor/storage.ts';

export const METADATA_KEY = 'fewbits';

export type Described =
  | { shape: number[]; form: 'tile'; tile: TileForm; input?: ActivationScheme }
  | { shape: number[]; form: 'blocks'; type: StorageType };

const float = z.enum(['f32', 'f16', 'bf16']);

const levelFields = z.strictObject({
  stored: z.union([float, z.enum(['e4m3', 'e8m0']), z.strictObject({ bits: z.int().min(1).max(8) })]),
  group: z.int().min(0),
  wholeTensor: z.boolean().optional(),
  parent: z.strictObject({ stored: float, per: z.enum(['row', 'tensor']) }).optional(),
});

/** Fields that contradict each other would be read as something else than they are. */
function consistent<T extends typeof levelFields>(level: T) {
  return level
    .refine(({ wholeTensor, group }) => !(wholeTensor && group > 0), { message: 'one value of the tensor has no groups' })
    .refine(({ parent, wholeTensor }) => !(parent && wholeTensor), { message: 'one value of the tensor lies under no parent' })
    .refine(({ parent, stored }) => !parent || typeof stored === 'object' || stored === 'e4m3', {
      message: 'only codes (bits) and e4m3 lie under a parent',
    });
}

const level = consistent(levelFields);

/** Counts that fields are sized by; the bytes of the file bound them. */
const count = z.int().min(0).max(1_000_000);

const grid = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('integer'), bits: z.int().min(1).max(8), signed: z.boolean() }),
  z.strictObject({ kind: z.literal('minifloat'), format: z.enum(['e2m1', 'e2m3', 'e3m2', 'e4m3', 'e5m2']) }),
  z.strictObject({ kind: z.literal('table'), name: z.string().max(100).optional(), values: z.array(z.number()).min(2).max(256) }),
  z.strictObject({
    kind: z.literal('books'),
    bits: z.int().min(1).max(8),
    dim: z.literal([1, 2, 4]),
    per: z.union([z.enum(['row', 'tensor']), z.strictObject({ columns: count })]),
    stored: float,
  }),
]);

const shape = z
  .array(
    z
      .int()
      .min(1)
      .max(2 ** 40),
  )
  .min(1)
  .max(8);

const described = z.discriminatedUnion('form', [
  z.strictObject({
    shape,
    form: z.literal('tile'),
    tile: z.strictObject({
      grid,
      order: z.boolean().optional(),
      scale: level,
      zero: consistent(levelFields.extend({ kind: z.enum(['integer', 'float', 'minimum']) })).optional(),
      columnScale: float.optional(),
      sparse: z.strictObject({ perRow: z.number().gt(0).max(1_000_000_000), stored: float }).optional(),
      columns: z.strictObject({ count, stored: float }).optional(),
      lowRank: z.strictObject({ rank: count, stored: float }).optional(),
    }),
    input: z
      .strictObject({
        bits: z.int().min(2).max(8),
        float: z.string().max(20).optional(),
        symmetric: z.boolean(),
        dynamic: z.boolean(),
        per: z.union([z.enum(['tensor', 'token', 'channel']), z.strictObject({ group: z.int().min(1) })]),
        threshold: z.number().gt(0).optional(),
      })
      .optional(),
  }),
  z.strictObject({ shape, form: z.literal('blocks'), type: z.string().refine(isStorageType) }),
]);

const rotation = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('hadamard'), size: z.int().min(1).max(1_000_000) }),
  z.strictObject({ kind: z.literal('orthogonal'), size: z.int().min(1).max(MAX_ORTHOGONAL), seed: z.int() }),
]);

const online = z.array(
  z.discriminatedUnion('at', [
    z.strictObject({ at: z.literal('input'), linear: z.string(), rotation, stride: z.int().min(1).max(1_000_000).optional() }),
    z.strictObject({ at: z.literal('queryKey'), layer: z.int().min(0), rotation }),
  ]),
);

const kvSide = z.strictObject({
  bits: z.union([z.literal(2), z.literal(4), z.literal(8), z.literal('fp8')]),
  per: z.enum(['channel', 'token']),
  group: z.int().min(1).max(1_000_000),
  symmetric: z.boolean().optional(),
});

const count0 = z.int().min(0).max(1_000_000_000);

export const kvScheme = z.strictObject({ key: kvSide, value: kvSide, residual: count0, sinks: count0, hadamard: z.boolean() });

const document = z.looseObject({
  version: z.literal(1),
  online: online.optional(),
  kv: kvScheme.optional(),
  tensors: z.record(z.string(), described),
});

/** What a file of ours says of its tensors and of what happens while the model runs. */
export interface Descriptor {
  tensors: Map<string, Described>;
  online?: readonly OnlineRotation[];
  kv?: KvScheme;
}

/** @throws FormatError for a document that is not ours or of a later version. */
export function readDescriptor(text: string, where: string): Descriptor {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new FormatError({ what: `metadata ${METADATA_KEY} is not JSON`, where });
  }
  const parsed = document.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new FormatError({
      what: `metadata ${METADATA_KEY}: ${issue.message} at ${issue.path.join('.')}`,
      where,
      next: 'the file is damaged or of a later version',
    });
  }
  const { tensors, online: rotations, kv } = parsed.data;
  return {
    tensors: new Map(Object.entries(tensors) as [string, Described][]),
    ...(rotations && { online: rotations as OnlineRotation[] }),
    ...(kv && { kv: kv as KvScheme }),
  };
}
