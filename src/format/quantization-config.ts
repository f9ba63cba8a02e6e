/** `quantization_config` of config.json as a container's own schema reads it, and the tensors it speaks of. */
import type * as z from 'zod';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.ts';
import { FormatError } from '../errors.ts';

/** @throws FormatError naming the first key that is wrong */
export function parseConfig<T extends z.ZodType>(schema: T, value: unknown, where: string): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new FormatError({
    what: `quantization_config: ${issue.message}${issue.path.length ? ` at ${issue.path.join('.')}` : ''}`,
    where,
    next: 'the configuration is damaged, or not of this container',
  });
}

/** A field of a quantized weight. @throws FormatError when it is missing, or has another dtype or shape */
export function fieldEntry(
  { name, tensors }: Checkpoint,
  field: string,
  types: readonly TensorEntry['type'][],
  shape: readonly (number | undefined)[],
): TensorEntry {
  const entry = tensors.get(field);
  if (!entry) throw misfit(`${name}: ${field}`, 'a field of a quantized tensor is missing');
  const fits = entry.shape.length === shape.length && shape.every((size, i) => size === undefined || size === entry.shape[i]);
  if (fits && types.includes(entry.type)) return entry;
  const value = `${entry.type} [${entry.shape}]`;
  const limit = `${types.join(' or ')} [${shape.map((size) => size ?? 'n')}]`;
  throw misfit(`${name}: ${field}`, 'a field of a quantized tensor is not what the others say', value, limit);
}

export function misfit(where: string, what: string, value?: unknown, limit?: unknown): FormatError {
  return new FormatError({
    what,
    where,
    ...(value !== undefined && { value }),
    ...(limit !== undefined && { limit }),
    next: 'the file is damaged, or was not made by the tool that its configuration names',
  });
}
