/**
 * Counts the bytes that code asks for by `new Uint8Array(n)`, `new ArrayBuffer(n)` and their like. Resident memory cannot tell:
 * pages of a large allocation that nobody touches are never resident.
 */
export interface Allocations {
  reset(): void;
  bytes(): number;
  stop(): void;
}

const names = ['ArrayBuffer', 'SharedArrayBuffer', 'Uint8Array', 'Float32Array', 'Int32Array', 'Float64Array', 'Array'] as const;
const bytesOfElement: Readonly<Record<(typeof names)[number], number>> = {
  ArrayBuffer: 1,
  SharedArrayBuffer: 1,
  Uint8Array: 1,
  Float32Array: 4,
  Int32Array: 4,
  Float64Array: 8,
  Array: 8,
};

export function countAllocations(): Allocations {
  let total = 0;
  const globals = globalThis as unknown as Record<string, new (...args: unknown[]) => object>;
  const originals = names.map((name) => [name, globals[name]!] as const);
  for (const [name, original] of originals)
    globals[name] = new Proxy(original, {
      construct(target, args, newTarget) {
        if (typeof args[0] === 'number') total += args[0] * bytesOfElement[name];
        return Reflect.construct(target, args, newTarget);
      },
    });
  return {
    reset: () => {
      total = 0;
    },
    bytes: () => total,
    stop: () => {
      for (const [name, original] of originals) globals[name] = original;
    },
  };
}
