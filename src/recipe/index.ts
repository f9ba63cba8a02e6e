export { globMatch } from './glob.ts';
export { byExtension, containerNamed, type QuantizeOptions, recipeFromOptions } from './options.ts';
export { type Plan, type PlannedTensor, type PlanOptions, plan } from './plan.ts';
export { type Preset, presetNamed, presets } from './presets.ts';
export { parameters, weightType } from './resolve.ts';
export { parseRecipe, type Recipe, type RecipeInput, recipeJsonSchema } from './schema.ts';
export { tilesOf } from './tiles.ts';
