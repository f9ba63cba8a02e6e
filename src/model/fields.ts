/** Reads checked numbers out of untrusted configuration: a wrong or missing field is a ModelError that names it. */
import { ModelError } from '../errors.ts';

/** Bounds far above every published model; they keep a hostile file from making us build millions of names (CWE-770). */
export const limits = {
  layers: 10_000,
  heads: 65_536,
  headDim: 65_536,
  width: 1 << 24,
  vocab: 1 << 26,
  context: 2 ** 40,
} as const;

export class Fields {
  readonly #get: (key: string) => unknown;
  readonly #where: string;

  /** @param where file or section, for messages: 'config.json'. */
  constructor(get: (key: string) => unknown, where: string) {
    this.#get = get;
    this.#where = where;
  }

  has(key: string): boolean {
    const value = this.#get(key);
    return value !== undefined && value !== null;
  }

  /** A whole number in [1, limit]. */
  count(key: string, limit: number, fallback?: number): number {
    const value = this.has(key) ? this.#get(key) : fallback;
    const n = typeof value === 'bigint' ? Number(value) : value;
    if (typeof n !== 'number' || !Number.isInteger(n) || n < 1) this.#fail(key, 'must be a positive whole number', value);
    if (n > limit) this.#fail(key, 'is too large', value, limit);
    return n;
  }

  /** A finite number above zero. */
  positive(key: string, fallback?: number): number {
    const value = this.has(key) ? this.#get(key) : fallback;
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) this.#fail(key, 'must be a positive number', value);
    return value;
  }

  flag(key: string, fallback?: boolean): boolean {
    const value = this.has(key) ? this.#get(key) : fallback;
    if (typeof value !== 'boolean') this.#fail(key, 'must be true or false', value);
    return value;
  }

  text(key: string, fallback?: string): string {
    const value = this.has(key) ? this.#get(key) : fallback;
    if (typeof value !== 'string') this.#fail(key, 'must be a string', value);
    return value;
  }

  #fail(key: string, must: string, value: unknown, limit?: number): never {
    const what = value === undefined ? `'${key}' is missing` : `'${key}' ${must}`;
    throw new ModelError({ what, where: this.#where, value, limit });
  }
}
