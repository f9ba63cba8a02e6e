/** The document in `__metadata__` that says how each quantized tensor lies in the file. */
import * as z from 'zod';
import { FormatError } from '../../errors.ts';
import type { TileForm } from '../../quantized/form.ts';
import type { ActivationScheme } from '../../quantized/types.ts';
import { isStorageType, type StorageType } from '../../tensor/storage.ts';

export const METADATA_KEY = 'fewbits';

export type Described =
  | { shape: number[]; form: 'tile'; tile: TileForm; input?: ActivationScheme }
  | { shape: number[]; form: 'blocks'; type: StorageType };

const level = z.strictObject({
  stored: z.union([z.enum(['f32', 'f16', 'bf16']), z.strictObject({ bits: z.int().min(1).max(8) })]),
  group: z.int().min(0),
  wholeTensor: z.boolean().optional(),
});

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
      grid: z.strictObject({ kind: z.literal('integer'), bits: z.int().min(1).max(8), signed: z.boolean() }),
      order: z.boolean().optional(),
      scale: level,
      zero: level.extend({ kind: z.enum(['integer', 'float', 'minimum']) }).optional(),
    }),
    input: z
      .strictObject({
        bits: z.int().min(2).max(8),
        symmetric: z.boolean(),
        dynamic: z.boolean(),
        per: z.enum(['tensor', 'token']),
      })
      .optional(),
  }),
  z.strictObject({ shape, form: z.literal('blocks'), type: z.string().refine(isStorageType) }),
]);

const document = z.looseObject({
  version: z.literal(1),
  tensors: z.record(z.string(), described),
});

/** @throws FormatError for a document that is not ours or of a later version. */
export function readDescriptor(text: string, where: string): Map<string, Described> {
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
  return new Map(Object.entries(parsed.data.tensors) as [string, Described][]);
}
