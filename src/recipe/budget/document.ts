/** Sensitivities as a JSON document that somebody may have edited. */
import * as z from 'zod';
import { RecipeError } from '../../errors.ts';
import { containers } from '../../format/registry.ts';
import type { ContainerName } from '../../format/types.ts';
import { scheme } from '../schema.ts';
import type { Sensitivities } from './types.ts';

const positive = z.number().min(0);

const document = z.strictObject({
  version: z.literal(1),
  source: z.string(),
  container: z.enum(Object.keys(containers) as [ContainerName, ...ContainerName[]]),
  unit: z.enum(['kl', 'error']),
  tokens: z.strictObject({ statistics: positive, probes: positive }),
  groups: z
    .array(
      z.strictObject({
        tensors: z.array(z.string()).min(1),
        measure: z.enum(['hessian', 'meansquare', 'weights']),
        scale: positive,
        probes: z.array(z.strictObject({ scheme: z.string(), error: positive, kl: z.number(), klError: positive.optional() })),
        floored: z.literal(true).optional(),
        choices: z.array(z.strictObject({ scheme, error: positive })).min(1),
      }),
    )
    .min(1),
});

/** @throws RecipeError naming the first thing that is wrong */
export function parseSensitivities(value: unknown, where: string): Sensitivities {
  const parsed = document.safeParse(value);
  if (!parsed.success) {
    const { message, path } = parsed.error.issues[0]!;
    throw new RecipeError({ what: `${message} at ${path.join('.')}`, where, next: 'measure them again: remove the file' });
  }
  // As it was written: the keys of a scheme keep their order, by which candidates are found.
  return value as Sensitivities;
}
