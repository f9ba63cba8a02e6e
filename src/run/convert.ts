/** Conversion: every tensor keeps its values; where the target container cannot hold them exactly, the caller has to say so. */
import { RecipeError } from '../errors.ts';
import { exactTypeOf } from '../format/gguf/from-tile.ts';
import { exactFormOf } from '../format/gguf/to-tile.ts';
import { allowsQuantization } from '../format/gguf/type-rules.ts';
import { containers } from '../format/registry.ts';
import { gridBits } from '../format/tile-fields.ts';
import type { ContainerName, Model } from '../format/types.ts';
import { type Role, roleGroups } from '../model/index.ts';
import type { IntegerScheme } from '../quantize/scheme.ts';
import type { RecipeInput } from '../recipe/index.ts';
import { isMatrix } from '../recipe/resolve.ts';
import { type StorageType, storage } from '../tensor/storage.ts';

/** Float types that hold all values of another. */
const holds: Partial<Record<StorageType, readonly StorageType[]>> = {
  f32: ['f32', 'f16', 'bf16', 'f8_e4m3', 'f8_e5m2'],
  f16: ['f16', 'f8_e4m3', 'f8_e5m2'],
  bf16: ['bf16', 'f8_e4m3', 'f8_e5m2'],
};

/**
 * @param options.type f32, f16 or bf16 for all matrices; without it tensors stay as they are.
 * @throws RecipeError when something would be lost and `requantize` is not set.
 */
export function convertRecipe(model: Model, to: ContainerName, options: { type?: string; requantize: boolean }): RecipeInput {
  const { requantize } = options;
  const type = options.type?.toLowerCase();
  if (type !== undefined && !Object.hasOwn(holds, type)) {
    throw new RecipeError({
      what: 'convert changes between float types',
      where: '--type',
      value: options.type,
      next: 'choose f32, f16 or bf16, or use fewbits quantize',
    });
  }
  const wanted = type as FloatType | undefined;
  if (wanted && !requantize) refuseLoss(model, wanted);
  if (wanted)
    return { version: 1, container: to, rules: [{ name: '*', scheme: storageScheme(wanted) }], keep: notWeights(model) };
  const rules = to === 'gguf' ? nearestTypes(model, requantize) : containers[to].holds ? nearestGrids(model, to, requantize) : [];
  return { version: 1, container: to, rules };
}

type FloatType = 'f32' | 'f16' | 'bf16';

function storageScheme(type: StorageType): { kind: 'storage'; type: StorageType } {
  return { kind: 'storage', type };
}

/** Matrices that llama.cpp keeps at high precision, as patterns. */
function notWeights(model: Model): string[] {
  return model.tensors
    .filter(({ shape, gguf }) => shape.length >= 2 && !allowsQuantization(gguf ?? 'x.weight', shape))
    .map(({ name }) => escapeGlob(name));
}

function escapeGlob(name: string): string {
  return name.replace(/[[*?]/g, '[$&]');
}

function refuseLoss(model: Model, type: FloatType): void {
  for (const { name, stored, type: label } of model.tensors.filter(isMatrix)) {
    // Every quantized value is an f32: that is how it is decoded.
    const plain = stored.form === 'storage' && storage[stored.type].block === 1;
    const exact = plain ? holds[type]!.includes(stored.type) : type === 'f32';
    // bf16 to f16 keeps more bits of the fraction and drops the range that weights do not use: the customary conversion.
    const customary = stored.form === 'storage' && stored.type === 'bf16' && type === 'f16';
    if (exact || customary) continue;
    throw new RecipeError({
      what: `${label} does not fit ${type} without loss`,
      where: name,
      next: 'add --requantize to allow it',
    });
  }
}

/** Integer grids that no ggml type holds exactly are encoded again, by their bits. */
function nearestTypes(model: Model, requantize: boolean): NonNullable<RecipeInput['rules']> {
  const foreign = model.tensors.filter(({ stored }) => stored.form === 'tile' && !exactTypeOf(stored.tile, stored.cols));
  const [first] = foreign;
  if (first && !requantize) {
    throw new RecipeError({
      what: `GGUF has no type with the grid of ${first.type}`,
      where: first.name,
      next: 'quantize the original model with --type, or add --requantize to encode this one again',
    });
  }
  return foreign.map(({ name, stored }) => {
    const bits = stored.form === 'tile' ? gridBits(stored.tile) : 8;
    return { name: escapeGlob(name), scheme: storageScheme(bits <= 4 ? 'q4_1' : bits === 5 ? 'q5_1' : 'q8_0') };
  });
}

/** Quantized linears whose codes the container cannot take over are encoded again, by their bits. */
function nearestGrids(model: Model, to: ContainerName, requantize: boolean): NonNullable<RecipeInput['rules']> {
  const { holds, customary } = containers[to];
  const linear: readonly Role[] = roleGroups.linear;
  const quantized = model.tensors.flatMap((tensor) => {
    const { stored, role, shape } = tensor;
    const isLinear = isMatrix(tensor) && (model.spec === undefined || linear.includes(role));
    const form = stored.form === 'tile' ? stored.tile : stored.form === 'storage' ? exactFormOf(stored.type) : undefined;
    const isPlain = stored.form === 'values' || (stored.form === 'storage' && storage[stored.type].block === 1);
    if (!isLinear || isPlain) return [];
    const held = form ? holds!(form, shape) : 'it has no such grid';
    return typeof held === 'string' ? [{ tensor, form, reason: held }] : [];
  });
  const [first] = quantized;
  if (first && !requantize) {
    throw new RecipeError({
      what: `${to} cannot hold ${first.tensor.type} as it is: ${first.reason}`,
      where: first.tensor.name,
      next: 'quantize the original model, or add --requantize to encode this one again',
    });
  }
  return quantized.map(({ tensor, form }) => {
    const symmetric = !form?.zero;
    const group = form?.scale.group || 32;
    const scheme: IntegerScheme = {
      kind: 'integer',
      bits: form && gridBits(form) > 4 ? 8 : 4,
      symmetric,
      granularity: tensor.stored.cols % group === 0 ? { group } : 'channel',
      range: symmetric ? 'absmax-half' : 'minmax',
      scaleType: 'f16',
      ...customary?.(symmetric, 'f16'),
    };
    return { name: escapeGlob(tensor.name), scheme: scheme as Extract<NonNullable<RecipeInput['scheme']>, { kind: 'integer' }> };
  });
}
