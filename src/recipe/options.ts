/**
 * From the options of the command line (or of a call) to a recipe. Each option overrides what the recipe file says.
 */
import { RecipeError } from '../errors.ts';
import { type FileType, fileTypeNamed, fileTypes, isFileType } from '../format/gguf/types.ts';
import { containers } from '../format/registry.ts';
import type { Container, ContainerName, WeightType } from '../format/types.ts';
import { type ObserverName, ranges, refines } from '../quantize/index.ts';
import { type ClippingRange, clippingRanges, type IntegerScheme, type RangeName, type Rounding } from '../quantize/scheme.ts';
import { isStorageType } from '../tensor/storage.ts';
import { methodNamed, methods } from './methods/registry.ts';
import { granularityOf, type Method, type MethodOptions } from './methods/types.ts';
import { type Calibration, defaultCalibration, parseRecipe, type Recipe } from './schema.ts';

export interface QuantizeOptions {
  /** A parsed recipe document. */
  recipe?: unknown;
  method?: string;
  bits?: number;
  group?: number;
  symmetric?: boolean;
  range?: string;
  /** GGUF file type or tensor type. */
  type?: string;
  to?: string;
  /** Bits of the linears' inputs, quantized token by token at run time. */
  activationBits?: number;
  /** Inputs of linears have one static scale each, which this observer finds. */
  activationObserver?: ObserverName;
  /** How keys and values are stored while the model generates. */
  kvBits?: '8' | '4' | '2' | 'fp8';
  /** Scales of lists of values in 8 bits. */
  doubleQuant?: boolean;
  /** SmoothQuant: how much of the difficulty moves from inputs to weights (0.5). */
  alpha?: number;
  /** LLM.int8(): columns of inputs in which a value reaches it stay as they are (6). */
  threshold?: number;
  pure?: boolean;
  keep?: readonly string[];
  encoder?: string;
  /** GPTQ: share of the mean diagonal that is added. */
  damp?: number;
  actOrder?: boolean;
  /** GPTQ: rounds of refitted scales and descent on codes after the feedback. */
  refine?: number;
  calibration?: string;
  /** A calibration text is given, for methods that use one if there is one. */
  text?: boolean;
  /** Of the calibration text. */
  samples?: number;
  context?: number;
  seed?: number;
  chatTemplate?: boolean;
  /** First and last layer that are quantized. */
  layers?: readonly [from: number, to: number];
  /** A budget chooses the schemes: the recipe says everything else. */
  fit?: boolean;
}

/**
 * @param subject what is quantized: a model, whose tensors have roles, or a bag of tensors.
 * @param output name of the output: its extension chooses the container when nothing else does.
 * @param weightType dtype of the model's matrices: tools of some containers compute in it.
 */
export function recipeFromOptions(
  options: QuantizeOptions,
  subject: 'model' | 'bag',
  output = '',
  weightType: WeightType = 'f32',
): Recipe {
  const base = parseRecipe(options.recipe ?? { version: 1 });
  const recipe: Recipe = { ...base, rules: [...base.rules], keep: [...base.keep, ...(options.keep ?? [])] };
  if (options.pure) recipe.pure = true;
  if (options.encoder !== undefined) recipe.encoder = encoderNamed(options.encoder);
  const method = options.method === undefined ? undefined : methodNamed(options.method);
  const container = chooseContainer(options, base, output, method);
  recipe.container = container;
  setTransforms(recipe, options, method);
  const cache = options.kvBits ?? method?.kvBits;
  if (cache !== undefined) recipe.kv = cache;
  if (options.layers) recipe.layers = [...options.layers];
  setRounding(recipe, options, method, container);
  setCalibration(recipe, options, method);
  refuseIdle(options, method);
  if (options.fit) {
    refuseGrid(options, method);
    return recipe;
  }
  const asked = gridOptions(options, method);
  if (options.type !== undefined) {
    if (asked.length > 0) {
      throw new RecipeError({
        what: `--type names a complete type, and ${asked.join(', ')} ${asked.length > 1 ? 'describe' : 'describes'} another one`,
        where: '--type',
        value: options.type,
        next: 'give one or the other',
      });
    }
    setType(recipe, options.type, subject);
  } else if (
    asked.length > 0 ||
    method ||
    (recipe.fileType === undefined && recipe.scheme === undefined && recipe.rules.length === 0)
  ) {
    setGrid(recipe, options, container, subject, weightType);
  }
  setRefinement(recipe, options);
  setObserver(recipe, options);
  return recipe;
}

/** Inputs that are quantized token by token get one scale for the tensor instead. */
function setObserver(recipe: Recipe, { activationObserver: observer }: QuantizeOptions): void {
  if (observer === undefined) return;
  const { scheme } = recipe;
  if (!scheme || scheme.kind === 'keep' || scheme.kind === 'storage' || !scheme.input) {
    throw new RecipeError({
      what: 'this finds ranges of quantized inputs, and no inputs are quantized here',
      where: '--activation-observer',
      value: observer,
      next: 'add --activation-bits 8',
    });
  }
  recipe.scheme = { ...scheme, input: { ...scheme.input, dynamic: false, per: 'tensor', observer } };
}

/** @throws RecipeError for what a budget chooses itself */
function refuseGrid({ type, method: name, ...options }: QuantizeOptions, method: Method | undefined): void {
  const [flag] = [
    ...(type === undefined ? [] : ['--type']),
    ...gridOptions(options, undefined),
    ...(options.pure ? ['--pure'] : []),
  ];
  if (flag) throw new RecipeError({ what: 'a budget chooses the types itself', where: flag, next: 'leave out this or --fit' });
  // Round to nearest is what the budget assumes; a way of rounding goes with whatever it chooses.
  if (!method || method.rounding || method === methods['rtn']) return;
  throw new RecipeError({
    what: 'this method says what the weights become, and a budget chooses that itself',
    where: '--method',
    value: name,
    next: 'use --method gptq, or leave out --method or --fit',
  });
}

/** The options given that describe a grid, as they are written. */
function gridOptions(options: QuantizeOptions, method: Method | undefined): string[] {
  const { bits, group, symmetric, range, activationBits, doubleQuant } = options;
  const given = {
    bits,
    group,
    [symmetric === false ? 'asymmetric' : 'symmetric']: symmetric,
    range,
    'activation-bits': activationBits,
    'double-quant': doubleQuant,
  };
  // A method that is a way of rounding goes with any type; the others are grids of their own.
  const named = method && !method.takes.includes('type') ? [`--method ${options.method}`] : [];
  return [...Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`])), ...named];
}

function encoderNamed(name: string): Recipe['encoder'] {
  if (name === 'exact' || name === 'search') return name;
  throw new RecipeError({ what: 'no such encoder', where: '--encoder', value: name, next: 'choose exact or search' });
}

function chooseContainer(options: QuantizeOptions, recipe: Recipe, output: string, method: Method | undefined): ContainerName {
  const named = options.to ?? byExtension(output) ?? recipe.container;
  if (named !== undefined) return containerNamed(named);
  return options.type !== undefined || recipe.fileType !== undefined ? 'gguf' : (method?.container ?? 'fewbits');
}

/** `--method` replaces what the recipe says of rounding; the other options change it. */
function setRounding(
  recipe: Recipe,
  { damp, actOrder, refine, text }: QuantizeOptions,
  method: Method | undefined,
  container: ContainerName,
): void {
  if (method) {
    changeRoundings(recipe, () => undefined);
    const rounding = method.rounding ?? (text ? method.withText?.rounding : undefined);
    if (rounding) recipe.rounding = rounding;
  }
  const given = Object.entries({ damp, 'act-order': actOrder, refine }).find(([, value]) => value !== undefined);
  let found = false;
  changeRoundings(recipe, (rounding) => {
    found = true;
    return {
      ...rounding,
      ...(damp !== undefined && { damp }),
      ...(refine !== undefined && { refine }),
      ...(actOrder && ({ order: 'activation', groups: 'dynamic' } as const)),
    };
  });
  if (!found && given) {
    throw new RecipeError({
      what: 'this belongs to GPTQ, and nothing here is rounded by it',
      where: `--${given[0]}`,
      next: 'add --method gptq',
    });
  }
  if (actOrder && !containers[container].groupIndex) {
    const able = Object.values(containers).filter(({ groupIndex }) => groupIndex);
    throw new RecipeError({
      what: `${container} stores no g_idx, so that its groups stay runs of columns; the order of work follows the activations anyway`,
      where: '--act-order',
      next: `leave it out, or use ${able.map(({ name }) => `--to ${name}`).join(' or ')}`,
    });
  }
}

/** Wherever the recipe speaks of rounding: for all matrices, in its scheme, in the schemes of rules. */
function changeRoundings(recipe: Recipe, change: (rounding: Rounding) => Rounding | undefined): void {
  const changed = <T extends object>(holder: T): T => {
    const { rounding, ...rest } = holder as T & { rounding?: Rounding };
    const now = rounding && change(rounding);
    return (now ? { ...rest, rounding: now } : rest) as T;
  };
  const { rounding } = changed({ ...(recipe.rounding && { rounding: recipe.rounding }) }) as { rounding?: Recipe['rounding'] };
  if (rounding) recipe.rounding = rounding;
  else delete recipe.rounding;
  if (recipe.scheme) recipe.scheme = changed(recipe.scheme);
  recipe.rules = recipe.rules.map((rule) => ({ ...rule, scheme: changed(rule.scheme) }));
}

/** A recipe promises no refinement where none of its integers get one. */
function setRefinement(recipe: Recipe, { refine = 0 }: QuantizeOptions): void {
  const { rounding, scheme: base, rules } = recipe;
  const integers = [base, ...rules.map(({ scheme }) => scheme)].filter((scheme) => scheme?.kind === 'integer');
  if (!rounding || integers.length === 0 || integers.some((scheme) => refines({ rounding, ...scheme } as IntegerScheme))) return;
  if (refine > 0) {
    throw new RecipeError({
      what: 'refinement works on scales of rows or of runs of their columns, and groups in activation order are no such runs',
      where: '--refine',
      value: refine,
      next: 'leave out --refine or --act-order',
    });
  }
  recipe.rounding = { ...rounding, refine: 0 };
}

const calibrationOrders: readonly Calibration['order'][] = ['parallel', 'block', 'sequential'];

function setCalibration(recipe: Recipe, options: QuantizeOptions, method: Method | undefined): void {
  const { samples, context, seed, chatTemplate } = options;
  const order = options.calibration ?? (options.text ? method?.withText?.order : undefined);
  if (order !== undefined && !(calibrationOrders as readonly string[]).includes(order)) {
    throw new RecipeError({
      what: 'no such calibration order',
      where: '--calibration',
      value: order,
      next: `choose one of ${calibrationOrders.join(', ')}`,
    });
  }
  const given = { order, samples, context, seed, chatTemplate };
  const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  if (Object.keys(said).length > 0) recipe.calibration = { ...defaultCalibration, ...recipe.calibration, ...said };
}

/** The container that an output's extension names. */
export function byExtension(output: string): ContainerName | undefined {
  return Object.values(containers).find((c) => c.extensions.some((e) => output.toLowerCase().endsWith(e)))?.name;
}

/** @throws RecipeError for a container that does not exist. */
export function containerNamed(name: string): ContainerName {
  if (Object.hasOwn(containers, name)) return name as ContainerName;
  throw new RecipeError({
    what: 'no such container',
    where: '--to',
    value: name,
    next: `choose one of ${Object.keys(containers).join(', ')}`,
  });
}

/** A name that is both a file type and a tensor type is the file type for a model and the tensor type for a bag. */
function setType(recipe: Recipe, name: string, subject: 'model' | 'bag'): void {
  const type = name.toLowerCase();
  delete recipe.fileType;
  delete recipe.scheme;
  if (subject === 'model' && isFileType(type)) {
    recipe.fileType = type;
  } else if (isStorageType(type)) {
    recipe.scheme = { kind: 'storage', type };
    recipe.pure = true;
  } else if (subject === 'model') {
    recipe.fileType = fileTypeNamed(type);
  } else {
    throw new RecipeError({
      what: `${fileTypeNamed(type)} mixes types by a tensor's role, and a bag of tensors has no roles`,
      where: '--type',
      value: name,
      next: 'name a tensor type such as q4_k or q8_0',
    });
  }
}

/** ggml types of plain integers in blocks of 32, by bits: [symmetric, asymmetric]. */
const ggmlIntegers: Partial<Record<number, readonly ['q4_0' | 'q5_0' | 'q8_0', ('q4_1' | 'q5_1')?]>> = {
  4: ['q4_0', 'q4_1'],
  5: ['q5_0', 'q5_1'],
  8: ['q8_0'],
};
/** The file type that people mean by so many bits. */
const ggufByBits = { 2: 'q2_k', 3: 'q3_k_m', 4: 'q4_k_m', 5: 'q5_k_m', 6: 'q6_k', 8: 'q8_0' } as const;

/** What the options of a grid say: a type of GGUF, the recipe's scheme with changes, or what the method makes. */
function setGrid(
  recipe: Recipe,
  options: QuantizeOptions,
  container: ContainerName,
  subject: 'model' | 'bag',
  weightType: WeightType,
): void {
  const method = methodNamed(options.method ?? 'rtn');
  const sizes = sizesOf(options, method);
  if (container === 'safetensors') {
    throw new RecipeError({ what: 'plain safetensors hold no quantized weights', where: '--to', next: 'use --to fewbits' });
  }
  const { scheme: base } = recipe;
  delete recipe.fileType;
  delete recipe.scheme;
  if (container === 'gguf') {
    setGgufType(recipe, options, sizes, method, subject);
    return;
  }
  const kept = base?.kind === 'integer' && options.method === undefined ? base : undefined;
  const scheme = kept
    ? changedScheme(kept, options)
    : methodScheme({ ...options, ...sizes }, method, containers[container], weightType);
  if (scheme) recipe.scheme = scheme;
}

/** Bits and group, by the method where no option says. @throws RecipeError for what the method does not have */
function sizesOf(options: QuantizeOptions, method: Method): { bits: number; group: number } {
  checkInputBits(options.activationBits ?? 8);
  // Integer products of activations and weights need one scale a row.
  const { bits = options.activationBits ?? method.bits[0]!, group = options.activationBits === undefined ? method.group : -1 } =
    options;
  if (!method.bits.includes(bits)) {
    throw new RecipeError({
      what: `${options.method ?? 'rtn'} has no such width`,
      where: '--bits',
      value: bits,
      limit: [...method.bits].sort((a, b) => a - b).join(', '),
      ...(bits === 1 && { next: 'use --method binary' }),
    });
  }
  if (!Number.isInteger(group) || group < -1 || group === 0) {
    throw new RecipeError({
      what: 'a group is a positive number of inputs, or -1 for the whole row',
      where: '--group',
      value: group,
    });
  }
  return { bits, group };
}

function setGgufType(
  recipe: Recipe,
  options: QuantizeOptions,
  sizes: { bits: number; group: number },
  method: Method,
  subject: 'model' | 'bag',
): void {
  if (method.ggufType) {
    if (options.activationBits !== undefined) ggufIntegers(options, sizes.bits); // refuses it
    const said = methodOptions({ ...options, ...sizes }, method, 'gguf');
    method.scheme?.(said); // refuses a range that the method does not have
    const found = method.ggufType(said);
    if (!('type' in found)) throw new RecipeError({ ...found, where: `--method ${options.method} --to gguf` });
    recipe.scheme = { kind: 'storage', type: found.type };
    if (options.encoder === undefined) recipe.encoder = found.encoder;
    return;
  }
  if (options.method !== undefined && options.method !== 'rtn' && !method.takes.includes('type')) {
    throw new RecipeError({
      what: `GGUF has no type for what ${options.method} makes`,
      where: '--to gguf',
      next: 'use --to fewbits',
    });
  }
  const wanted = ggufIntegers(options, sizes.bits);
  if (subject === 'model') recipe.fileType = wanted;
  else recipe.scheme = { kind: 'storage', type: fileTypes[wanted].base };
}

/** The recipe's integers with what the options say instead. */
function changedScheme(base: RecipeScheme, options: QuantizeOptions): RecipeScheme {
  const symmetric = options.symmetric ?? rangeSymmetry(options.range) ?? base.symmetric;
  return {
    ...overridden(base, options, symmetric),
    ...(options.activationBits !== undefined && { input: tokenwise(options.activationBits) }),
  };
}

/** What the method makes of the options, by the custom of the container. */
function methodScheme(
  options: QuantizeOptions & { bits: number; group: number },
  method: Method,
  container: Container,
  weightType: WeightType,
): Recipe['scheme'] {
  if (!method.scheme) return undefined;
  const said = methodOptions(options, method, container.name);
  const scheme = method.scheme(said);
  const { activationBits } = said;
  const input = activationBits === undefined ? {} : { input: { ...tokenwise(activationBits), ...method.input?.(said) } };
  if (scheme.kind !== 'integer') return { ...scheme, ...input } as Recipe['scheme'];
  if (options.range !== undefined) rangeNamed(options.range, scheme.symmetric);
  const custom = withCustom(scheme, container.customary?.(scheme.symmetric, weightType), options, method);
  const searches = options.range === undefined ? method.searches : undefined;
  return { ...(searches ? searched(custom, searches) : custom), ...input } as RecipeScheme;
}

/** What the options say to a method, with the defaults of the command line. */
function methodOptions(options: QuantizeOptions, method: Method, container: ContainerName | undefined): MethodOptions {
  const {
    bits = method.bits[0]!,
    group = method.group,
    symmetric = rangeSymmetry(options.range) ?? method.symmetric ?? true,
    doubleQuant = false,
    alpha = 0.5,
    threshold = 6,
  } = options;
  const activationBits = options.activationBits ?? method.activationBits;
  const kv = (options.kvBits ?? method.kvBits) !== undefined;
  const folded = container !== 'fewbits' || options.type !== undefined;
  return {
    ...{ bits, group, symmetric, doubleQuant, alpha, threshold, kv, folded },
    ...(options.range !== undefined && { range: listed(options.range) ?? rangeNamed(options.range, symmetric) }),
    ...(activationBits !== undefined && { activationBits }),
  };
}

/** `--method` replaces the transforms of the recipe; `--alpha` changes those that are there. */
function setTransforms(recipe: Recipe, options: QuantizeOptions, method: Method | undefined): void {
  const { alpha } = options;
  if (method) {
    const made = method.transforms?.(methodOptions(options, method, recipe.container));
    const { transforms } = parseRecipe({ version: 1, ...(made && { transforms: made }) });
    if (transforms) recipe.transforms = transforms;
    else delete recipe.transforms;
  }
  if (alpha === undefined) return;
  if (!recipe.transforms?.some(({ kind }) => kind === 'smoothquant')) {
    throw new RecipeError({
      what: 'this belongs to SmoothQuant, and the recipe has none',
      where: '--alpha',
      value: alpha,
      next: 'add --method smoothquant',
    });
  }
  recipe.transforms = recipe.transforms.map((one) => (one.kind === 'smoothquant' ? { ...one, alpha } : one));
}

/** Options that would change nothing are refused. */
function refuseIdle(options: QuantizeOptions, method: Method | undefined): void {
  const { takes } = method ?? methods['rtn']!;
  const beside = method ? `with --method ${options.method}` : options.type ? `with --type ${options.type}` : 'without --method';
  const flags = {
    group: '--group',
    symmetric: '--symmetric',
    range: '--range',
    doubleQuant: '--double-quant',
    threshold: '--threshold',
  } as const;
  for (const [key, flag] of Object.entries(flags) as [keyof typeof flags, string][]) {
    if (options[key] === undefined || takes.includes(key)) continue;
    throw new RecipeError({
      what: `this changes nothing ${beside}`,
      where: key === 'symmetric' && options.symmetric === false ? '--asymmetric' : flag,
      next: `leave it out${methodsTaking(key)}`,
    });
  }
}

function methodsTaking(key: Method['takes'][number]): string {
  const names = Object.entries(methods).flatMap(([name, { takes }]) => (takes.includes(key) ? [name] : []));
  return names.length ? `, or use --method ${names.join(' or ')}` : '';
}

/** Ranges that lists of values have too. */
function listed(name: string): 'absmax' | undefined {
  return name === 'absmax' ? name : undefined;
}

/** Ratios of the range that a search tries: 1, 0.99, ... 0.61. */
const SEARCH_STEPS = 40;

/** The limits are searched; the container's formula makes a scale of them. */
function searched(scheme: RecipeScheme, range: 'mse'): RecipeScheme {
  const { range: base } = scheme;
  if ((clippingRanges as readonly string[]).includes(base)) return scheme;
  return { ...scheme, range, rangeOptions: { steps: SEARCH_STEPS, base: base as Exclude<RangeName, ClippingRange> } };
}

/** What the tools of the container do, except where an option or the method itself says otherwise. `absmax` is the container's own range. */
function withCustom(
  scheme: IntegerScheme,
  custom: Partial<IntegerScheme> | undefined,
  { range }: QuantizeOptions,
  { ownRange }: Method,
): RecipeScheme {
  const own = ownRange ? { range: scheme.range, ...(scheme.zero && { zero: scheme.zero }) } : {};
  const given = range === undefined || range === 'absmax' ? {} : { range: scheme.range };
  return { ...scheme, ...custom, ...own, ...given } as RecipeScheme;
}

function checkInputBits(bits: number): void {
  if (Number.isInteger(bits) && bits >= 2 && bits <= 8) return;
  throw new RecipeError({ what: 'activations have 2 to 8 bits', where: '--activation-bits', value: bits });
}

function tokenwise(bits: number): NonNullable<RecipeScheme['input']> {
  checkInputBits(bits);
  return { bits, symmetric: true, dynamic: true, per: 'token' };
}

type RecipeScheme = Extract<NonNullable<Recipe['scheme']>, { kind: 'integer' }>;

/** The recipe's scheme with what the options say instead. */
function overridden(base: RecipeScheme, { bits, group, range }: QuantizeOptions, symmetric: boolean): RecipeScheme {
  const { zero, rangeOptions, ...rest } = base;
  const another = range !== undefined || symmetric !== base.symmetric ? rangeNamed(range, symmetric) : undefined;
  return {
    ...rest,
    symmetric,
    ...(bits !== undefined && { bits }),
    ...(group !== undefined && { granularity: granularityOf(group) }),
    // Parameters belong to the range that they were given for.
    ...(another === undefined ? rangeOptions && { rangeOptions } : { range: another }),
    ...(zero !== undefined && !symmetric && { zero }),
  };
}

function ggufIntegers(options: QuantizeOptions, bits: number): FileType {
  const { group, symmetric, range, activationBits } = options;
  if (activationBits !== undefined) {
    throw new RecipeError({
      what: 'GGUF does not say how activations are quantized',
      where: '--activation-bits',
      value: activationBits,
      next: 'use --to compressed-tensors',
    });
  }
  if (range !== undefined) {
    throw new RecipeError({
      what: 'the ggml types choose their own ranges',
      where: '--range',
      value: range,
      next: 'use --to fewbits',
    });
  }
  if (group === undefined && symmetric === undefined) {
    const type = (ggufByBits as Record<number, FileType>)[bits];
    if (type) return type;
  } else if (group === undefined || group === 32) {
    const type = ggmlIntegers[bits]?.[symmetric === false ? 1 : 0];
    if (type) return type;
  }
  throw new RecipeError({
    what: 'GGUF has no type with this grid',
    where: '--to gguf',
    value: { bits, group, symmetric },
    next: 'use --type with a GGUF type (q4_k_m, q5_0, q8_0 ...), or --to fewbits',
  });
}

/** Ranges that recipes name. */
export const rangeNames: readonly RangeName[] = (Object.keys(ranges) as (keyof typeof ranges)[]).filter(
  (name): name is RangeName => name !== 'signed-extreme',
);

/** undefined where a range has both kinds, or there is none of this name. */
function rangeSymmetry(name?: string): boolean | undefined {
  if (name === undefined || !Object.hasOwn(ranges, name)) return undefined;
  const { schemes } = ranges[name as RangeName];
  return schemes === 'both' ? undefined : schemes === 'symmetric';
}

/** `absmax` alone is the container's own: absmax-half. */
function rangeNamed(name: string | undefined, symmetric: boolean): RangeName {
  const chosen = name ?? (symmetric ? 'absmax-half' : 'minmax');
  const full = chosen === 'absmax' ? 'absmax-half' : chosen;
  if (!(rangeNames as readonly string[]).includes(full)) {
    throw new RecipeError({
      what: 'no such range',
      where: '--range',
      value: name,
      next: `choose one of absmax, ${rangeNames.join(', ')}`,
    });
  }
  const demands = rangeSymmetry(full);
  if (demands !== undefined && demands !== symmetric) {
    throw new RecipeError({
      what: `range ${full} is ${demands ? 'symmetric' : 'asymmetric'}`,
      where: '--range',
      next: demands ? 'drop --asymmetric or choose minmax' : 'drop --symmetric or choose an absmax range',
    });
  }
  return full as RangeName;
}
