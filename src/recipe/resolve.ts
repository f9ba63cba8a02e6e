/**
 * Which scheme each tensor of a model gets. From weak to strong: the file type or the scheme for linear layers, the rules in
 * order, `keep`. Rows that do not divide are found here, before any byte is written.
 */
import { RecipeError } from '../errors.ts';
import { unsaidInput } from '../format/capabilities.ts';
import { hasLevels } from '../format/gguf/blocks/index.ts';
import { fits, fittingType } from '../format/gguf/type-fallbacks.ts';
import { chooseTypes, fileTypeNamed, fileTypes } from '../format/gguf/types.ts';
import type { Container, Model, PlacedTensor, WeightTensor, WeightType } from '../format/types.ts';
import { blockTypes, isSearched } from '../kernels/index.ts';
import { type Role, roleGroups } from '../model/types.ts';
import { checkActivations, checkInput } from '../quantize/activations.ts';
import { refusalOf } from '../quantize/kinds/combinations.ts';
import { schemeSurveys } from '../quantize/kinds/encode.ts';
import { isWeightScheme, type Scheme, schemeLabel, type WeightScheme } from '../quantize/scheme.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { storageKind } from '../tensor/storage.ts';
import { asMatrix, elements } from '../tensor/tensor.ts';
import { checkGrids } from './fitting.ts';
import { ggufFacts } from './gguf-facts.ts';
import { globMatch } from './glob.ts';
import { hasInput, takesRounding } from './needs.ts';
import type { Recipe, Rule } from './schema.ts';

export interface Resolved {
  schemes: { tensor: WeightTensor; scheme: Scheme }[];
  warnings: string[];
}

/** @throws RecipeError when a rule names nothing, a group does not divide, or the container cannot hold a scheme. */
export function resolveSchemes(model: Model, recipe: Recipe, container: Container, imatrix: boolean): Resolved {
  const warnings: string[] = [];
  if (recipe.layers) checkLayers(model, recipe.layers);
  const base = baseSchemes(model, recipe, imatrix, warnings);
  const used = new Set<Rule>();
  const keepUsed = new Set<string>();
  const chosen = model.tensors.map((tensor, i) => {
    let scheme = base[i]!;
    const numbers = isMatrix(tensor);
    for (const rule of recipe.rules) {
      if (!matches(rule, tensor) || !(numbers || rule.scheme.kind === 'keep')) continue;
      used.add(rule);
      scheme = withoutUndefined(rule.scheme);
    }
    for (const pattern of recipe.keep) {
      if (!globMatch(pattern, tensor.name)) continue;
      keepUsed.add(pattern);
      scheme = { kind: 'keep' };
    }
    if (recipe.layers && !inLayers(tensor, recipe.layers)) scheme = { kind: 'keep' };
    return { tensor, scheme: numbers ? withRounding(scheme, recipe, model, tensor) : scheme };
  });
  for (const rule of recipe.rules) {
    if (!used.has(rule))
      throw unmatched(
        `a rule matches no weight matrix: ${JSON.stringify({ ...rule, scheme: schemeLabel(withoutUndefined(rule.scheme)) })}`,
        model,
      );
  }
  for (const pattern of recipe.keep) if (!keepUsed.has(pattern)) throw unmatched(`--keep ${pattern} matches no tensor`, model);
  checkGrids(chosen, container);
  const fitting = chosen.map(({ tensor, scheme }) => ({ tensor, scheme: fitRows(tensor, scheme, container, warnings) }));
  return { schemes: recipe.encoder === 'search' ? searched(fitting) : fitting, warnings };
}

/** Blocks that are encoded, not copied, by the search. */
function searched(schemes: Resolved['schemes']): Resolved['schemes'] {
  const chosen = schemes.map(({ tensor, scheme }) => {
    const { stored } = tensor;
    if (scheme.kind !== 'storage' || !isSearched(scheme.type)) return { tensor, scheme };
    const copied = stored.form === 'storage' && stored.type === scheme.type;
    return { tensor, scheme: copied ? scheme : ({ ...scheme, encoder: 'search' } as const) };
  });
  if (chosen.some(({ scheme }) => scheme.kind === 'storage' && scheme.encoder)) return chosen;
  throw new RecipeError({
    what: 'nothing here is encoded into ggml blocks: there is nothing to search',
    where: '--encoder',
    value: 'search',
    next: 'choose a --type such as q4_k_m, or leave --encoder out',
  });
}

function checkLayers({ spec }: Model, [first, last]: readonly [number, number]): void {
  if (!spec) throw new RecipeError({ what: 'a bag of tensors has no layers', where: '--layers', next: 'leave it out' });
  if (first <= last && last < spec.layers) return;
  throw new RecipeError({ what: 'no such layers', where: '--layers', value: `${first}-${last}`, limit: `0-${spec.layers - 1}` });
}

function inLayers({ layer }: WeightTensor, [first, last]: readonly [number, number]): boolean {
  return layer !== undefined && layer >= first && layer <= last;
}

/** Without an architecture only a statistics file can say what a matrix is multiplied with: the plan checks that it does. */
function withRounding(scheme: Scheme, recipe: Recipe, model: Model, tensor: WeightTensor): Scheme {
  if (scheme.kind === 'keep' || !takesRounding(scheme)) return scheme;
  if (model.spec && !hasInput(model, tensor)) {
    const { rounding: _, ...nearest } = scheme;
    return nearest as Scheme;
  }
  return recipe.rounding && !scheme.rounding ? { ...scheme, rounding: recipe.rounding } : scheme;
}

function unmatched(what: string, model: Model): RecipeError {
  return new RecipeError({
    what,
    next: `names look like ${model.tensors
      .slice(0, 3)
      .map((t) => t.name)
      .join(', ')}; see fewbits inspect`,
  });
}

/** A weight matrix of numbers; norms, biases and integer tensors are kept whatever a rule says. */
export function isMatrix(tensor: WeightTensor): boolean {
  const { rows, cols } = asMatrix(tensor.shape);
  const { stored } = tensor;
  const numbers = stored.form !== 'storage' || storageKind(stored.type) !== 'integer';
  return tensor.shape.length >= 2 && rows > 1 && cols > 1 && numbers && !['norm', 'qkNorm', 'bias', 'rope'].includes(tensor.role);
}

function baseSchemes(model: Model, recipe: Recipe, imatrix: boolean, warnings: string[]): Scheme[] {
  if (recipe.fileType !== undefined) return fileTypeSchemes(model, recipe, imatrix, warnings);
  const { scheme } = recipe;
  const linear: readonly Role[] = roleGroups.linear;
  return model.tensors.map((tensor) => {
    if (!scheme || !isMatrix(tensor)) return { kind: 'keep' };
    const chosen = model.spec === undefined || linear.includes(tensor.role) || (recipe.pure && tensor.role !== 'other');
    return chosen ? withoutUndefined(scheme) : { kind: 'keep' };
  });
}

/** llama.cpp's own choice per tensor. */
function fileTypeSchemes(model: Model, recipe: Recipe, imatrix: boolean, warnings: string[]): Scheme[] {
  const fileType = fileTypeNamed(recipe.fileType!);
  if (fileTypes[fileType].needsImatrix && !imatrix) {
    throw new RecipeError({
      what: `${fileType} needs an importance matrix`,
      where: '--type',
      next: 'give one with --stats, or choose q2_k',
    });
  }
  const facts = ggufFacts(model);
  const choices = chooseTypes({
    ...facts,
    fileType,
    imatrix,
    pure: recipe.pure,
    tensors: model.tensors.map((t) => ({ ggufName: t.gguf ?? t.fileName, shape: t.shape })),
  });
  return choices.map((choice, i) => {
    if (choice.fallback) warnings.push(`${model.tensors[i]!.name}: ${choice.wanted} -> ${choice.type}: ${choice.fallback}`);
    return { kind: 'storage', type: choice.type };
  });
}

function matches(rule: Rule, tensor: WeightTensor): boolean {
  const list = (value: string | string[] | undefined) => (value === undefined ? [] : [value].flat());
  if (rule.role !== undefined) {
    const roles = list(rule.role).flatMap((name) =>
      Object.hasOwn(roleGroups, name) ? roleGroups[name as keyof typeof roleGroups] : [name],
    );
    if (!(roles as string[]).includes(tensor.role)) return false;
  }
  if (rule.name !== undefined && !list(rule.name).some((pattern) => globMatch(pattern, tensor.name))) return false;
  if (rule.layers !== undefined) {
    if (tensor.layer === undefined || tensor.layer < rule.layers[0] || tensor.layer > rule.layers[1]) return false;
  }
  return true;
}

function withoutUndefined(scheme: NonNullable<Recipe['scheme']>): Scheme {
  return Object.fromEntries(Object.entries(scheme).filter(([, value]) => value !== undefined)) as unknown as Scheme;
}

/** Makes the scheme fit the rows, or refuses. */
function fitRows(tensor: WeightTensor, scheme: Scheme, container: Container, warnings: string[]): Scheme {
  const { cols } = asMatrix(tensor.shape);
  if (scheme.kind === 'keep') {
    if (tensor.input) checkHeldInput(tensor, tensor.input, container);
    return scheme;
  }
  if (scheme.kind === 'storage' && !fits(scheme.type, cols)) {
    const type = fittingType(scheme.type, cols);
    warnings.push(`${tensor.name}: ${scheme.type} -> ${type}: rows of ${cols} values do not fit ${scheme.type}'s blocks`);
    const { rounding, ...nearest } = scheme;
    if (!rounding || hasLevels(type)) return { ...scheme, type };
    warnings.push(`${tensor.name}: ${type} has no codes that feedback could choose: values are rounded to nearest`);
    return { ...nearest, type };
  }
  if (isWeightScheme(scheme)) {
    checkCombination(tensor, scheme);
    if (scheme.input) checkInput(scheme.input, tensor.name, cols);
    checkSurvey(tensor, scheme);
  } else checkBlocks(tensor, scheme);
  checkEncoder(tensor, scheme);
  const reason = container.refuses(scheme, tensor.shape);
  if (reason !== undefined) {
    throw new RecipeError({
      what: `${container.name} cannot hold ${schemeLabel(scheme)}: ${reason}`,
      where: tensor.name,
      next: 'use --to fewbits',
    });
  }
  return scheme;
}

/** A model that quantizes inputs is another one without that. */
function checkHeldInput({ name, shape }: WeightTensor, input: ActivationScheme, container: Container): void {
  const reason = unsaidInput(input, container.says.input);
  if (reason !== undefined) {
    throw new RecipeError({
      what: `${container.name} cannot hold how the input of this linear is quantized: ${reason}`,
      where: name,
      next: 'use --to fewbits',
    });
  }
  try {
    checkActivations(input, name, asMatrix(shape).cols);
  } catch (error) {
    if (!(error instanceof RecipeError)) throw error;
    throw new RecipeError({ ...error.problem, where: name });
  }
}

/** Nothing that a scheme asks for is left out silently. */
function checkCombination({ name, shape }: WeightTensor, scheme: WeightScheme): void {
  const { rows, cols } = asMatrix(shape);
  const refusal = refusalOf(scheme, [rows, cols]);
  if (refusal) throw new RecipeError({ ...refusal, where: name });
}

function checkBlocks({ name }: WeightTensor, scheme: Scheme): void {
  if (scheme.kind !== 'storage' || !scheme.rounding) return;
  if (storageKind(scheme.type) === 'block' && hasLevels(scheme.type)) return;
  throw new RecipeError({
    what: 'this type cannot be rounded with feedback',
    where: name,
    value: scheme.type,
    next: 'leave rounding out, or choose a block type of levels and codes, such as q4_k',
  });
}

/** Values of the largest tensor that is surveyed in one piece: 256 MiB of f32, and copies of it. */
export const MAX_SURVEY_VALUES = 2 ** 26;

function checkSurvey(tensor: WeightTensor, scheme: WeightScheme): void {
  const values = elements(tensor.shape);
  if (schemeSurveys(scheme) !== 'matrix' || values <= MAX_SURVEY_VALUES) return;
  throw new RecipeError({
    what: `${schemeLabel(scheme)} needs all values of a tensor at once`,
    where: tensor.name,
    value: `${values} values`,
    limit: MAX_SURVEY_VALUES,
    next: 'share scales by channel or group, or choose the range minmax or an absmax range',
  });
}

function checkEncoder({ name, stored }: WeightTensor, scheme: Scheme): void {
  if (scheme.kind !== 'storage' || Object.hasOwn(blockTypes, scheme.type)) return;
  if (stored.form === 'storage' && stored.type === scheme.type) return; // copied
  throw new RecipeError({
    what: 'no encoder for this type',
    where: name,
    value: scheme.type,
    next: `choose one of ${Object.keys(blockTypes).join(', ')}`,
  });
}

/** What becomes another type has to be decoded; a container may widen even a tensor that is kept. */
export function checkDecoder({ source, from, scheme }: Pick<PlacedTensor, 'source' | 'from' | 'scheme'>): void {
  if (from.form !== 'storage' || scheme.kind === 'keep') return;
  if (scheme.kind === 'storage' && scheme.type === from.type) return;
  if (Object.hasOwn(blockTypes, from.type) || from.type === 'f64') return;
  throw new RecipeError({
    what: `values of type ${from.type} cannot be decoded, and they do not stay as they are`,
    where: source,
    value: `${from.type} -> ${schemeLabel(scheme)}`,
    next: 'keep the tensor (--keep), use --to fewbits, or start from an f16 or bf16 model',
  });
}

/** The float dtype in which most values of the model's matrices are. */
export function weightType(model: Model): WeightType {
  const counts = new Map<WeightType, number>();
  for (const tensor of model.tensors.filter(isMatrix)) {
    const { stored } = tensor;
    if (stored.form !== 'storage' || !isWeightType(stored.type)) continue;
    counts.set(stored.type, (counts.get(stored.type) ?? 0) + elements(tensor.shape));
  }
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'f32';
}

function isWeightType(type: string): type is WeightType {
  return type === 'f32' || type === 'f16' || type === 'bf16';
}

/** Values in all tensors. */
export function parameters(model: Model): number {
  return model.tensors.reduce((sum, tensor) => sum + elements(tensor.shape), 0);
}
