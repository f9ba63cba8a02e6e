/** Conversion: every tensor keeps its values; where the target container cannot hold them exactly, the caller has to say so. */
import { RecipeError } from '../errors.ts';
import { allowsQuantization } from '../format/gguf/type-rules.ts';
import type { ContainerName, Model, WeightTensor } from '../format/types.ts';
import type { RecipeInput } from '../recipe/index.ts';
import { type StorageType, storage } from '../tensor/storage.ts';

export interface Conversion {
  recipe: RecipeInput;
}

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
export function convertRecipe(model: Model, to: ContainerName, options: { type?: string; requantize: boolean }): Conversion {
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
  const wanted = type as 'f32' | 'f16' | 'bf16' | undefined;
  if (wanted) refuseLoss(model, wanted, requantize);
  if (to === 'gguf') refuseGrids(model);
  return {
    recipe: {
      version: 1,
      container: to,
      rules: wanted
        ? model.tensors
            .filter((tensor) => isWeight(tensor))
            .map((tensor) => ({ name: escapeGlob(tensor.name), scheme: { kind: 'storage', type: wanted } }))
        : [],
    },
  };
}

function isWeight(tensor: WeightTensor): boolean {
  return tensor.shape.length >= 2 && allowsQuantization(tensor.gguf ?? 'x.weight', tensor.shape);
}

function escapeGlob(name: string): string {
  return name.replace(/[[*?]/g, '[$&]');
}

function refuseLoss(model: Model, type: 'f32' | 'f16' | 'bf16', requantize: boolean): void {
  if (requantize) return;
  for (const { name, stored, type: label } of model.tensors) {
    const exact =
      stored.form === 'storage' && (storage[stored.type].block === 1 ? holds[type]!.includes(stored.type) : type === 'f32');
    // bf16 to f16 keeps more bits of the fraction and drops the range that weights do not use: the customary conversion.
    const customary = stored.form === 'storage' && stored.type === 'bf16' && type === 'f16';
    if (exact || customary || stored.rows === 1) continue;
    throw new RecipeError({
      what: `${label} does not fit ${type} without loss`,
      where: name,
      next: 'add --requantize to allow it',
    });
  }
}

/** Integer grids of our own container have no ggml type that means the same. */
function refuseGrids(model: Model): void {
  const grid = model.tensors.find(({ stored }) => stored.form === 'tile');
  if (!grid) return;
  throw new RecipeError({
    what: `GGUF has no type with the grid of ${grid.type}`,
    where: grid.name,
    next: 'quantize the original model with --type, or this one with quantize --requantize',
  });
}
