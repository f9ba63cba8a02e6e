/** The small files beside a model's weights, by name, parsed when asked for. */
import type { JsonObject } from '../../checkpoint/types.ts';
import { FormatError } from '../../errors.ts';

export class Sidecars {
  readonly #files: ReadonlyMap<string, Uint8Array>;

  constructor(files: ReadonlyMap<string, Uint8Array>) {
    this.#files = files;
  }

  bytes(name: string): Uint8Array | undefined {
    return this.#files.get(name);
  }

  text(name: string): string | undefined {
    const bytes = this.bytes(name);
    return bytes && new TextDecoder().decode(bytes);
  }

  /** @throws FormatError when the file is there and holds no JSON object. */
  object(name: string): JsonObject | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    try {
      const value: unknown = JSON.parse(text);
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
    } catch {}
    throw new FormatError({ what: 'not a JSON object', where: name, next: 'give the file that belongs to the model' });
  }
}
