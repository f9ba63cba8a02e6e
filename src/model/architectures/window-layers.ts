import type { JsonObject } from '../../checkpoint/types.ts';

/** Qwen's rule: `layer_types` decides where it is given, else the layers from `max_window_layers` on slide. */
export function slidesPastWindowLayers(config: JsonObject, layer: number): boolean {
  const { use_sliding_window, layer_types, max_window_layers } = config;
  if (use_sliding_window !== true) return false;
  if (Array.isArray(layer_types)) return layer_types[layer] === 'sliding_attention';
  return layer >= Number(max_window_layers);
}
