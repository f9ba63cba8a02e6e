/** llama.cpp's own quantizer, file to file. */
import { type GgufFile, readGguf, tensorBytes } from './gguf.ts';
import { type Library, openLibrary } from './library.ts';

/** File types by name: LLAMA_FTYPE_* of include/llama.h. */
export const fileTypes: Readonly<Record<string, number>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q8_0: 7,
  q5_0: 8,
  q5_1: 9,
  q2_k: 10,
  q3_k_s: 11,
  q3_k_m: 12,
  q3_k_l: 13,
  q4_k_s: 14,
  q4_k_m: 15,
  q5_k_s: 16,
  q5_k_m: 17,
  q6_k: 18,
  iq2_xxs: 19,
  iq2_xs: 20,
  q2_k_s: 21,
  iq3_xs: 22,
  iq3_xxs: 23,
  iq1_s: 24,
  iq4_nl: 25,
  iq3_s: 26,
  iq3_m: 27,
  iq2_s: 28,
  iq2_m: 29,
  iq4_xs: 30,
  iq1_m: 31,
  bf16: 32,
  tq1_0: 36,
  tq2_0: 37,
  mxfp4_moe: 38,
  q1_0: 40,
  q2_0: 41,
};

/** Tensor types that are no file types: the file type whose base they are, which `pure` gives to all matrices. */
const pureTypes: Readonly<Record<string, string>> = { mxfp4: 'mxfp4_moe' };

export interface QuantizeOptions {
  threads?: number;
  /** One tensor type for all matrices. */
  pure?: boolean;
  /** An importance matrix as llama-imatrix writes it (GGUF). */
  imatrix?: string;
  /** Allow a source that is already quantized. */
  requantize?: boolean;
}

/** Returns the seconds spent in llama_model_quantize, without loading the library. */
export function quantizeFile(input: string, output: string, type: string, options: QuantizeOptions = {}): number {
  const pure = Object.hasOwn(pureTypes, type);
  const ftype = fileTypes[pure ? pureTypes[type]! : type];
  if (ftype === undefined) throw new Error(`unknown file type ${type}; known: ${Object.keys(fileTypes).join(' ')}`);
  const library = openLibrary();
  const params = {
    ...library.quantizeDefaults(),
    ftype,
    nthread: options.threads ?? 2,
    pure: options.pure ?? pure,
    allow_requantize: options.requantize ?? false,
  };
  if (options.imatrix) params.imatrix = nativeImatrix(library, readGguf(options.imatrix));
  const start = performance.now();
  const code = library.quantize(input, output, params);
  if (code !== 0) throw new Error(`llama_model_quantize gave ${code} for ${input} as ${type}`);
  return (performance.now() - start) / 1000;
}

/**
 * `llama_model_imatrix_data[]`: {const char *name; const float *data; size_t size}, ended by a null name. The value of a column is
 * its sum of squares over the count of its matrix; a matrix (expert) that saw nothing weighs 1. Never freed: llama.cpp keeps it.
 */
function nativeImatrix({ koffi }: Library, gguf: GgufFile): bigint {
  const byName = new Map(gguf.tensors.map((tensor) => [tensor.name, tensor]));
  const floats = (name: string): Float32Array => {
    const tensor = byName.get(name);
    if (!tensor) throw new Error(`${gguf.path} has no ${name}`);
    const count = tensor.dimensions.reduce((product, n) => product * n, 1);
    return new Float32Array(new Uint8Array(tensorBytes(gguf, tensor)).buffer, 0, count);
  };
  const native = (bytes: Uint8Array): bigint => {
    const at = koffi.alloc('uint8', bytes.length);
    new Uint8Array(koffi.view(at, bytes.length)).set(bytes);
    return at;
  };

  const suffix = '.in_sum2';
  const names = [...byName.keys()].filter((name) => name.endsWith(suffix)).map((name) => name.slice(0, -suffix.length));
  const table = new BigUint64Array(3 * (names.length + 1));
  names.forEach((name, i) => {
    const [sums, counts] = [floats(name + suffix), floats(`${name}.counts`)];
    const columns = sums.length / counts.length;
    const values = sums.map((sum, j) => {
      const count = Math.round(counts[Math.floor(j / columns)]!);
      return count > 0 ? sum / count : 1;
    });
    table.set([native(Buffer.from(`${name}\0`)), native(new Uint8Array(values.buffer)), BigInt(values.length)], 3 * i);
  });
  return native(new Uint8Array(table.buffer));
}

/**
 * Compares our blocks with those that ggml's encoder makes of the same values, tensor by tensor; for types that llama-quantize makes
 * no files of. @param source a file of F32 tensors @param ours the same in another type, which is the only block type there
 * @returns what was compared @throws Error at the first difference
 */
export function sameEncoding(source: string, ours: string): string {
  const library = openLibrary();
  const [from, made] = [readGguf(source), readGguf(ours)];
  const sources = new Map(from.tensors.map((tensor) => [tensor.name, tensor]));
  const encoded = made.tensors.filter(({ type }) => type !== 0);
  let bytes = 0;
  for (const tensor of encoded) {
    const values = new Float32Array(new Uint8Array(tensorBytes(from, sources.get(tensor.name)!)).buffer);
    const [columns = 1, rows = 1] = tensor.dimensions;
    const blocks = new Uint8Array(tensor.bytes);
    const written = library.quantizeChunk(tensor.type, values.subarray(0, rows * columns), blocks, 0, rows, columns, null);
    const got = tensorBytes(made, tensor);
    const at = blocks.subarray(0, written).findIndex((byte, i) => byte !== got[i]);
    if (at >= 0) throw new Error(`${tensor.name}: byte ${at} of ${written} is ${got[at]}, ggml's ${blocks[at]}`);
    bytes += written;
  }
  if (encoded.length === 0) throw new Error('nothing is encoded');
  return `${bytes} bytes of ${encoded.length} tensors`;
}
