/** Reading JSON of unknown shape: what is not of the asked kind is undefined or empty, never an exception. */
import type { Json, JsonObject } from '../checkpoint/types.ts';

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function entries(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}

export function text(value: Json | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** A list's items; a single value is a list of one. */
export function list(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : value == null ? [] : [value];
}
