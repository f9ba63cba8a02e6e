/**
 * The recipe: one versioned JSON document that says what every tensor becomes. `schema/recipe.schema.json` is made from it.
 */
import * as z from 'zod';
import { RecipeError } from '../errors.ts';
import { kvScheme } from '../format/fewbits/descriptor.ts';
import { roleGroups, roles } from '../model/index.ts';
import { observers } from '../quantize/observer/registry.ts';
import type { ObserverName } from '../quantize/observer/types.ts';
import { clippingRanges, tableNames } from '../quantize/scheme.ts';
import { isStorageType, type StorageType } from '../tensor/storage.ts';

const storageType = z
  .string()
  .refine(isStorageType, { message: 'not a storage type such as f16, q4_k or q8_0' })
  .transform((name) => name as StorageType);

const granularity = z
  .union([z.literal('tensor'), z.literal('channel'), z.strictObject({ group: z.int().min(1).max(1_048_576) })])
  .describe('Who shares a scale: the tensor, an output row, or a group of consecutive inputs of one output row.');

const rounding = z
  .strictObject({
    kind: z.literal('gptq'),
    damp: z.number().gt(0).max(100).default(0.01).describe('Share of the mean of diag(H) that is added to the diagonal.'),
    order: z
      .enum(['natural', 'activation', 'groups'])
      .default('activation')
      .describe(
        'Columns as they are stored; by descending diag(H); or groups by descending mean diag(H) and columns in them by diag(H).',
      ),
    groups: z
      .enum(['dynamic', 'static'])
      .default('static')
      .describe('Scales are found when the first column of a group is reached, or all before the first column.'),
    block: z.int().min(1).max(4096).default(128).describe('Columns worked on between two updates of the rest.'),
    refine: z.int().min(0).max(20).default(2).describe('Rounds of refitted scales and descent on codes after the feedback.'),
  })
  .describe('GPTQ: the error of each column is spread over those that follow. It needs statistics of the inputs.');

const calibration = z
  .strictObject({
    order: z
      .enum(['parallel', 'block', 'sequential'])
      .default('parallel')
      .describe(
        'Inputs of a layer come from the unquantized model; from quantized layers before it; also from quantized linears before it in the layer.',
      ),
    correct: z
      .boolean()
      .default(true)
      .describe(
        'Weights aim at the outputs of the unquantized model: they make up for what quantized layers before them changed.',
      ),
    samples: z.int().min(1).max(1_000_000).optional().describe('Windows of text; default 128, or as many as the text has.'),
    context: z.int().min(2).optional().describe("Tokens in a window; default 2048 or the model's limit."),
    seed: z.int().min(0).optional().describe('Windows at random places; default: the first ones.'),
    chatTemplate: z.boolean().default(false).describe('The text is JSONL of messages, rendered by the chat template.'),
  })
  .describe('How activations are collected, where something needs them.');

const rangeOptions = z
  .strictObject({
    percentile: z.number().gt(0).max(100).optional().describe('percentile: share of the values that stays inside, in percent.'),
    steps: z.int().min(1).max(100).optional().describe('Searches: how many ratios 1, 0.99, ... are tried.'),
    power: z.number().gt(0).max(10).optional().describe('mse: the error is |x - x̂| to this power.'),
    base: z
      .enum(['absmax-narrow', 'absmax-full', 'absmax-half', 'absmax-gptq', 'minmax'])
      .optional()
      .describe('The formula that turns the limits of a search into a scale.'),
  })
  .describe('Parameters of the ranges that have some.');

const arithmetic = z
  .strictObject({
    compute: z.enum(['f32', 'f16', 'bf16', 'f64']).optional(),
    divide: z.enum(['divide', 'reciprocal']).optional(),
    rounding: z.enum(['halfEven', 'halfAway', 'trunc']).optional(),
    scale: z.enum(['beforeCast', 'afterCast']).optional(),
    zero: z.enum(['afterRounding', 'beforeRounding']).optional(),
  })
  .describe('In which dtype and order codes are computed, where it has to equal what other tools do.');

const observerNames = Object.keys(observers) as [ObserverName, ...ObserverName[]];

const input = z
  .strictObject({
    bits: z.int().min(2).max(8),
    float: z
      .enum(['e4m3', 'e5m2', 'e2m1', 'e2m3', 'e3m2'])
      .optional()
      .describe('A small float instead of integers; bits is its width.'),
    symmetric: z.boolean(),
    dynamic: z.boolean().describe('Scales come from the values while the model runs, or (false) from calibration.'),
    per: z
      .union([z.enum(['tensor', 'token', 'channel']), z.strictObject({ group: z.int().min(1) })])
      .describe('Who shares a scale; token is dynamic, channel is static.'),
    observer: z
      .enum(observerNames)
      .optional()
      .describe('Static: how the range is found over the windows of the calibration text; default minmax.'),
    observerOptions: z
      .strictObject({
        constant: z.number().gt(0).max(1).optional().describe('moving-average: the weight of a new window (0.01).'),
        percentile: z.number().gt(0).max(100).optional().describe('percentile: share of the values that stays inside (99.999).'),
        bins: z.int().min(2).max(65_536).optional().describe('Of the first histogram.'),
      })
      .optional(),
    threshold: z.number().gt(0).optional().describe('LLM.int8(): columns in which a value reaches it stay as they are.'),
  })
  .describe("How the linear's input is quantized at run time.");

const split = z
  .strictObject({
    sparse: z
      .strictObject({
        share: z.number().gt(0).max(0.5).describe('Of each row.'),
        by: z
          .enum(['magnitude', 'sensitivity'])
          .default('sensitivity')
          .describe('The largest values, or those whose rounding costs the output most (needs mean squares of the inputs).'),
      })
      .optional(),
    columns: z
      .strictObject({ count: z.int().min(1).max(65_536) })
      .optional()
      .describe('So many columns with the largest inputs (needs absmax of the inputs).'),
    lowRank: z
      .strictObject({ rank: z.int().min(1).max(4096), weighted: z.boolean().default(false) })
      .optional()
      .describe("The error's best approximation of this rank, by the inputs' mean squares where weighted."),
  })
  .refine((s) => Object.values(s).some((one) => one !== undefined), { message: 'a split needs sparse, columns or lowRank' })
  .describe('What stays at high precision beside the codes.');

/** What a scheme of any grid can say besides its grid. */
const extras = {
  rounding: rounding.optional(),
  input: input.optional(),
  split: split.optional(),
  balance: z.literal('sinkhorn').optional().describe('A factor for each column, found by balancing rows and columns (SINQ).'),
};

const integerScheme = z
  .strictObject({
    kind: z.literal('integer'),
    bits: z.int().min(1).max(8),
    symmetric: z.boolean(),
    granularity,
    range: z.enum(['absmax-narrow', 'absmax-full', 'absmax-half', 'absmax-gptq', 'minmax', ...clippingRanges]),
    rangeOptions: rangeOptions.optional(),
    scaleType: z.enum(['f32', 'f16', 'bf16']).default('f16'),
    zero: z.enum(['integer', 'float']).optional(),
    signed: z.boolean().optional().describe('Whether the grid has negative values; default: where symmetric.'),
    emptyGroup: z
      .enum(['one', 'epsilon', 'zero', 'unit'])
      .optional()
      .describe('The scale of a group of zeros: 1, the epsilon of the compute dtype, 0, or that of the range [-1, 1].'),
    arithmetic: arithmetic.optional(),
    nested: z
      .strictObject({ bits: z.int().min(2).max(8), per: z.literal('row') })
      .optional()
      .describe('Scales are integers under one float for each row.'),
    ...extras,
  })
  .describe(
    'An integer grid. absmax-* ranges are symmetric, minmax is asymmetric, the others are either; imatrix and output-mse need statistics.',
  );

const tableScheme = z
  .strictObject({
    kind: z.literal('table'),
    table: z.enum(tableNames),
    granularity,
    range: z
      .enum(['absmax', 'mse', 'imatrix'])
      .default('absmax')
      .describe('The largest value lands on the largest of the table, or the scale of least (weighted) error is searched.'),
    scaleType: z.enum(['f32', 'f16', 'bf16']).default('f16'),
    nested: z
      .strictObject({ bits: z.int().min(2).max(8), per: z.enum(['row', 'tensor']) })
      .optional()
      .describe('Scales are codes under one float for each row or for the tensor.'),
    ...extras,
  })
  .describe('A grid of listed values under a scale: NF4, minifloats, ternary ...');

const mxScheme = z
  .strictObject({
    kind: z.literal('mx'),
    element: z.enum(['e2m1', 'e2m3', 'e3m2', 'e4m3', 'e5m2']),
    exponent: z.enum(['floor', 'ceil', 'fit', 'best']).default('best').describe("floor is OCP's rule."),
    weighted: z.boolean().optional().describe('best: columns count by the mean squares of their inputs.'),
    ...extras,
  })
  .describe('Minifloats in blocks of 32 under a power of two: MXFP4, MXFP6, MXFP8.');

const nvfp4Scheme = z
  .strictObject({
    kind: z.literal('nvfp4'),
    scale: z
      .enum(['six', 'four-over-six', 'search'])
      .default('four-over-six')
      .describe('Where the largest value of a block lies.'),
    weighted: z.boolean().optional().describe('four-over-six and search: columns count by the mean squares of their inputs.'),
    ...extras,
  })
  .describe('E2M1 in blocks of 16 under E4M3 scales under one f32.');

const codebookScheme = z
  .strictObject({
    kind: z.literal('codebook'),
    bits: z.int().min(1).max(8).describe('Of an index, which stands for dim values.'),
    dim: z.union([z.literal(1), z.literal(2), z.literal(4)]).default(1),
    per: z
      .union([z.enum(['row', 'tensor']), z.strictObject({ columns: z.int().min(1).max(65_536) })])
      .default('row')
      .describe('Who shares a book: a row, the tensor, or so many consecutive columns of all rows (product quantization).'),
    weighted: z.boolean().default(false).describe('Columns count by the mean squares of their inputs.'),
    bookType: z.enum(['f32', 'f16', 'bf16']).default('f16'),
    ...extras,
  })
  .describe('A grid that is learned from the weights by k-means.');

export const scheme = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('keep') }).describe('Stays as it is in the source.'),
  z
    .strictObject({ kind: z.literal('storage'), type: storageType, rounding: rounding.optional() })
    .describe('A float dtype or a ggml block type.'),
  integerScheme,
  tableScheme,
  mxScheme,
  nvfp4Scheme,
  codebookScheme,
]);

const transform = z
  .discriminatedUnion('kind', [
    z
      .strictObject({
        kind: z.literal('smoothquant'),
        alpha: z.number().min(0).max(1).default(0.5).describe('How much of the difficulty moves from inputs to weights.'),
        folds: z
          .enum(['norms', 'all'])
          .default('norms')
          .describe('Linears behind norms, or also o (behind v) and down (behind up).'),
      })
      .describe('Columns of weights are multiplied by what their inputs are divided by, by the largest values of both.'),
    z
      .strictObject({
        kind: z.literal('awq'),
        scales: z
          .enum(['activations', 'duo'])
          .default('activations')
          .describe('Scales from mean |x|, or from mean |w| too (AutoAWQ).'),
        clip: z.boolean().default(true).describe('Search for clips of weights too.'),
        grid: z.int().min(1).max(100).default(20).describe('Exponents tried.'),
      })
      .describe('Columns of weights are multiplied by what makes their rounding cost the outputs least, found by trying.'),
    z
      .strictObject({
        kind: z.literal('sinq'),
        folds: z
          .enum(['norms', 'all'])
          .default('all')
          .describe('Linears behind norms, or also o (behind v) and down (behind up).'),
      })
      .describe(
        'Columns of the linears of one input balanced by factors that move into what is in front of them (SINQ, folded).',
      ),
    z
      .strictObject({
        kind: z.literal('quarot'),
        seed: z.int().min(0).default(0),
        hidden: z.boolean().default(true).describe('R1: the hidden states.'),
        values: z.enum(['perHead', 'full', 'none']).default('perHead').describe('R2: the values of each head.'),
        down: z.boolean().default(false).describe('R4: the input of down, at run time.'),
        queryKey: z.boolean().default(false).describe('R3: queries and keys behind their positions, at run time.'),
      })
      .describe('Rotations that spread outliers over all channels.'),
  ])
  .describe('A rewrite that keeps what the model computes.');

const kv = z
  .union([z.enum(['8', '4', '2', 'fp8']), kvScheme])
  .describe('How keys and values are stored while the model generates: a width, or all of it.');

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
    container: z.enum(['gguf', 'fewbits', 'safetensors', 'gptq', 'compressed-tensors']).optional(),
    fileType: z
      .string()
      .optional()
      .describe("A GGUF file type: llama.cpp's own choice per tensor, e.g. q4_k_m. Rules override it."),
    scheme: scheme
      .optional()
      .describe('What every linear layer becomes when no rule says otherwise. In a bag of tensors: every matrix.'),
    rounding: rounding
      .optional()
      .describe('Which code a weight gets, in every quantized matrix whose scheme does not say; default: the nearest one.'),
    transforms: z
      .array(transform)
      .min(1)
      .max(4)
      // Rotations of the same place would both claim it while the model runs.
      .refine((list) => new Set(list.map(({ kind }) => kind)).size === list.length, { message: 'a transform is named twice' })
      .optional()
      .describe('Rewrites that come first, in this order.'),
    calibration: calibration.optional(),
    kv: kv.optional(),
    layers: z
      .tuple([z.int().min(0), z.int().min(0)])
      .optional()
      .describe('Only these layers are quantized, first and last included; everything else stays as it is.'),
    rules: z.array(rule).max(10_000).default([]).describe('The last rule that matches a tensor decides.'),
    keep: z
      .array(glob)
      .default([])
      .describe('Globs on Hugging Face tensor names: these stay at high precision, whatever a rule says.'),
    pure: z.boolean().default(false).describe('One tensor type for all matrices, embedding and output included.'),
    encoder: z
      .enum(['exact', 'search'])
      .default('exact')
      .describe(
        "Values of ggml blocks: exact = ggml's own bytes; search = the same layout, scales and codes fitted to the squared error, weighted by the importance matrix where there is one.",
      ),
  })
  .refine((r) => !(r.fileType !== undefined && r.scheme !== undefined), {
    message: 'fileType and scheme both say what a linear layer becomes: give one of them, and rules for exceptions',
  });

export type Recipe = z.output<typeof recipeSchema>;
export type RecipeInput = z.input<typeof recipeSchema>;
export type Rule = z.output<typeof rule>;
export type Calibration = z.output<typeof calibration>;
export type Transform = z.output<typeof transform>;

export const defaultCalibration: Calibration = calibration.parse({});
export const defaultRounding = rounding.parse({ kind: 'gptq' });

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
