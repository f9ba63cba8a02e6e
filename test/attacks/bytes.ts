/** Raw little-endian pieces of a GGUF or safetensors file, with nothing checked: what an attacker's tool would write. */
export const ascii = (text: string) => new TextEncoder().encode(text);

export function join(...parts: (Uint8Array | string)[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...(typeof part === 'string' ? ascii(part) : part)]));
}

function integer(bytes: number, value: number | bigint): Uint8Array {
  let rest = BigInt.asUintN(8 * bytes, BigInt(value));
  return Uint8Array.from({ length: bytes }, () => {
    const byte = Number(rest & 255n);
    rest >>= 8n;
    return byte;
  });
}
export const u32 = (value: number | bigint) => integer(4, value);
export const u64 = (value: number | bigint) => integer(8, value);
export const string = (text: string | Uint8Array) => {
  const bytes = typeof text === 'string' ? ascii(text) : text;
  return join(u64(bytes.length), bytes);
};

/** Type ids of GGUF values. */
export const type = { u8: 0, u32: 4, i32: 5, bool: 7, string: 8, array: 9, u64: 10 } as const;

/** A key with its type id and the bytes of its value. */
export const key = (name: string | Uint8Array, id: number, ...value: Uint8Array[]) => join(string(name), u32(id), ...value);

/** A tensor description; `dimensions` innermost first. */
export function description(
  name: string,
  dimensions: readonly (number | bigint)[],
  ggml = 0,
  offset: number | bigint = 0,
): Uint8Array {
  return join(string(name), u32(dimensions.length), ...dimensions.map(u64), u32(ggml), u64(offset));
}

export interface Gguf {
  version?: number;
  keys?: Uint8Array[];
  tensors?: Uint8Array[];
  /** Claimed counts, where they are not the true ones. */
  keyCount?: number | bigint;
  tensorCount?: number | bigint;
  /** Bytes of data after the padded header. */
  data?: number;
}

export function gguf({ version = 3, keys = [], tensors = [], keyCount, tensorCount, data = 0 }: Gguf): Uint8Array {
  const header = join(
    'GGUF',
    u32(version),
    u64(tensorCount ?? tensors.length),
    u64(keyCount ?? keys.length),
    ...keys,
    ...tensors,
  );
  return join(header, new Uint8Array((32 - (header.length % 32)) % 32), new Uint8Array(data));
}

/** A safetensors file of a header text and a number of data bytes; `length` where it is not the true one. */
export function safetensors(header: string | Uint8Array, data = 0, length?: number | bigint): Uint8Array {
  const text = typeof header === 'string' ? ascii(header) : header;
  return join(u64(length ?? text.length), text, new Uint8Array(data));
}
