/**
 * The recipe: one versioned JSON document that says what every tensor becomes. `schema/recipe.schema.json` is made from it.
 */
import * as z from 'zod';
import { RecipeError } from '../errors.ts';
import { roleGroups, roles } from '../model/index.ts';
import { clippingRanges } from '../quantize/scheme.ts';
import { isStorageType, type StorageType } from '../tensor/storage.ts';

const storageType = z
  .string()
  .refine(isStorageType, { message: 'not a storage type such as f16, q4_k or q8_0' })
  .transform((name) => name as StorageType);

const granularity = z
  .union([z.literal('tensor'), z.literal('channel'), z.strictObject({ group: z.int().min(1).max(1_048_576) })])
  .describe('Who shares a scale: the tensor, an output row, or a group of consecutive inputs of one output row.');

const integerScheme = z
  .strictObject({
    kind: z.literal('integer'),
    bits: z.int().min(1).max(8),
    symmetric: z.boolean(),
    granularity,
    range: z.enum(['absmax-narrow', 'absmax-full', 'absmax-half', 'minmax', ...clippingRanges]),
    scaleType: z.enum(['f32', 'f16', 'bf16']).default('f16'),
    zero: z.enum(['integer', 'float']).optional(),
  })
  .describe(
    'An integer grid. absmax-* ranges are symmetric, minmax is asymmetric, the others are either; imatrix and output-mse need statistics.',
  );

export const scheme = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('keep') }).describe('Stays as it is in the source.'),
  z.strictObject({ kind: z.literal('storage'), type: storageType }).describe('A float dtype or a ggml block type.'),
  integerScheme,
]);

/** Tensor names are far shorter; a match takes name x pattern steps. */
const glob = z.string().max(1000);

const oneOrMore = <T extends z.ZodType>(item: T) => z.union([item, z.array(item).min(1)]);

export const rule = z
  .strictObject({
    role: oneOrMore(z.enum([...roles, ...(Object.keys(roleGroups) as (keyof typeof roleGroups)[])]))
      .optional()
      .describe('A role (q, k, v, o, gate, up, down, embedding, output) or a group: attention, mlp, linear.'),
    name: oneOrMore(glob).optional().describe('Glob on Hugging Face tensor names: *.layers.0.*'),
    layers: z
      .tuple([z.int().min(0), z.int().min(0)])
      .optional()
      .describe('First and last layer, both included.'),
    scheme,
  })
  .refine((r) => r.role !== undefined || r.name !== undefined || r.layers !== undefined, {
    message: 'a rule needs at least one of role, name, layers',
  });

const recipeSchema = z
  .strictObject({
    version: z.literal(1),
    name: z.string().max(200).optional(),
    container: z.enum(['gguf', 'fewbits', 'safetensors']).optional(),
    fileType: z
      .string()
      .optional()
      .describe("A GGUF file type: llama.cpp's own choice per tensor, e.g. q4_k_m. Rules override it."),
    scheme: scheme
      .optional()
      .describe('What every linear layer becomes when no rule says otherwise. In a bag of tensors: every matrix.'),
    rules: z.array(rule).max(10_000).default([]).describe('The last rule that matches a tensor decides.'),
    keep: z
      .array(glob)
      .default([])
      .describe('Globs on Hugging Face tensor names: these stay at high precision, whatever a rule says.'),
    pure: z.boolean().default(false).describe('One tensor type for all matrices, embedding and output included.'),
    encoder: z.literal('exact').default('exact'),
  })
  .refine((r) => !(r.fileType !== undefined && r.scheme !== undefined), {
    message: 'fileType and scheme both say what a linear layer becomes: give one of them, and rules for exceptions',
  });

export type Recipe = z.output<typeof recipeSchema>;
export type RecipeInput = z.input<typeof recipeSchema>;
export type Rule = z.output<typeof rule>;

/** @throws RecipeError naming the path of the first thing that is wrong. */
export function parseRecipe(value: unknown, where = 'recipe'): Recipe {
  const parsed = recipeSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = deepest(parsed.error.issues[0]!);
  const path = issue.path.length ? ` at ${issue.path.join('.')}` : '';
  const given = valueAt(value, issue.path);
  // An object or a list is too long to show, and the message names the key in it.
  const shown = typeof given === 'object' ? undefined : given;
  throw new RecipeError({ what: `${issue.message}${path}`, where, value: shown, next: 'see schema/recipe.schema.json' });
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at = value;
  for (const key of path) at = typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[key] : undefined;
  return at;
}

/** Of a union's failures the one that got furthest says most. */
function deepest(issue: z.core.$ZodIssue): { message: string; path: PropertyKey[] } {
  if (issue.code !== 'invalid_union') return issue;
  const inner = issue.errors.map((list) => list[0]).filter((one) => one !== undefined);
  const best = inner.map(deepest).sort((a, b) => b.path.length - a.path.length)[0];
  return best ? { message: best.message, path: [...issue.path, ...best.path] } : issue;
}

/** The JSON Schema that is published beside the package. */
export function recipeJsonSchema(): object {
  return { ...z.toJSONSchema(recipeSchema, { io: 'input', unrepresentable: 'any' }), title: 'fewbits recipe, version 1' };
}
