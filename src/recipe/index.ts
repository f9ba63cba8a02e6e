export * from './budget/index.ts';
export { globMatch } from './glob.ts';
export { methodNamed, methods } from './methods/registry.ts';
export type { Method, MethodOptions } from './methods/types.ts';
export { byExtension, containerNamed, type QuantizeOptions, rangeNames, recipeFromOptions } from './options.ts';
export { type Plan, type PlannedTensor, type PlanOptions, plan } from './plan.ts';
export { parameters, weightType } from './resolve.ts';
export { parseRecipe, type Recipe, type RecipeInput, recipeJsonSchema } from './schema.ts';
export { tilesOf } from './tiles.ts';
