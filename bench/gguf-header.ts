/** The head of a GGUF file: metadata and tensor table, version 3. Enough for the synthetic checkpoint. */

export interface HeaderTensor {
  name: string;
  /** Outermost first; GGUF stores dimensions the other way round. */
  shape: number[];
  type: 'f32' | 'f16';
  /** A multiple of the alignment, so that tensors follow each other without padding. */
  bytes: number;
}

export type Entry =
  | [key: string, type: 'string', value: string]
  | [key: string, type: 'u32' | 'f32', value: number]
  | [key: string, type: 'strings', value: string[]]
  | [key: string, type: 'f32s', value: Float32Array]
  | [key: string, type: 'i32s', value: Int32Array];

const alignment = 32;
const tensorTypes = { f32: 0, f16: 1 };
/** GGUF's value types. */
const [u32Type, i32Type, f32Type, stringType, arrayType] = [4, 5, 6, 8, 9];

/** Padded to the alignment: tensor bytes follow. */
export function ggufHeader(metadata: Entry[], tensors: HeaderTensor[]): Uint8Array {
  let offset = 0;
  const table = tensors.map(({ name, shape, type, bytes }) => {
    if (bytes % alignment) throw new Error(`${name}: ${bytes} bytes are no multiple of ${alignment}`);
    const entry = [string(name), u32(shape.length), ...shape.toReversed().map(u64), u32(tensorTypes[type]), u64(offset)];
    offset += bytes;
    return Buffer.concat(entry);
  });
  const head = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(metadata.length), ...metadata.map(entryBytes), ...table];
  const bytes = Buffer.concat(head);
  return Buffer.concat([bytes, Buffer.alloc((alignment - (bytes.length % alignment)) % alignment)]);
}

function entryBytes([key, type, value]: Entry): Buffer {
  const array = (of: number, length: number, items: Buffer): Buffer[] => [u32(arrayType), u32(of), u64(length), items];
  const typed = (items: Float32Array | Int32Array): Buffer => Buffer.from(items.buffer, items.byteOffset, items.byteLength);
  switch (type) {
    case 'string':
      return Buffer.concat([string(key), u32(stringType), string(value)]);
    case 'u32':
      return Buffer.concat([string(key), u32(u32Type), u32(value)]);
    case 'f32':
      return Buffer.concat([string(key), u32(f32Type), typed(Float32Array.of(value))]);
    case 'strings':
      return Buffer.concat([string(key), ...array(stringType, value.length, Buffer.concat(value.map(string)))]);
    case 'f32s':
      return Buffer.concat([string(key), ...array(f32Type, value.length, typed(value))]);
    case 'i32s':
      return Buffer.concat([string(key), ...array(i32Type, value.length, typed(value))]);
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
}
