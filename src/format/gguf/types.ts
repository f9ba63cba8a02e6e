/**
 * GGUF file types: a file type names a mixture of tensor types. `q4_k_m` is not a tensor type: most of its tensors are Q4_K,
 * some Q6_K. The numbers are llama.cpp's `enum llama_ftype` and go into `general.file_type`; they are not ggml's type ids.
 */
import { RecipeError } from '../../errors.ts';
import type { StorageType } from '../../tensor/storage.ts';
import { blockOrder } from './tensor-order.ts';
import { fits, fittingType } from './type-fallbacks.ts';
import { allowsQuantization, type Category, categoryOf, mixtureType, type Place } from './type-rules.ts';

export interface FileTypeInfo {
  /** `enum llama_ftype`. */
  readonly ftype: number;
  /** The tensor type of every tensor for which no rule says otherwise. */
  readonly base: StorageType;
  /** llama-quantize refuses to make such a file without an importance matrix. */
  readonly needsImatrix?: true;
  /** The type of all that is no stack of experts. */
  readonly dense?: StorageType;
  /** llama.cpp loads such files but has no mixture for them: the name is a tensor type only. */
  readonly loadedOnly?: true;
}

const table = {
  f32: { ftype: 0, base: 'f32' },
  f16: { ftype: 1, base: 'f16' },
  bf16: { ftype: 32, base: 'bf16' },
  q4_0: { ftype: 2, base: 'q4_0' },
  q4_1: { ftype: 3, base: 'q4_1' },
  q5_0: { ftype: 8, base: 'q5_0' },
  q5_1: { ftype: 9, base: 'q5_1' },
  q8_0: { ftype: 7, base: 'q8_0' },
  q2_k: { ftype: 10, base: 'q2_k' },
  q2_k_s: { ftype: 21, base: 'q2_k', needsImatrix: true },
  q3_k_s: { ftype: 11, base: 'q3_k' },
  q3_k_m: { ftype: 12, base: 'q3_k' },
  q3_k_l: { ftype: 13, base: 'q3_k' },
  q4_k_s: { ftype: 14, base: 'q4_k' },
  q4_k_m: { ftype: 15, base: 'q4_k' },
  q5_k_s: { ftype: 16, base: 'q5_k' },
  q5_k_m: { ftype: 17, base: 'q5_k' },
  q6_k: { ftype: 18, base: 'q6_k' },
  iq4_nl: { ftype: 25, base: 'iq4_nl' },
  iq4_xs: { ftype: 30, base: 'iq4_xs' },
  tq1_0: { ftype: 36, base: 'tq1_0' },
  tq2_0: { ftype: 37, base: 'tq2_0' },
  mxfp4_moe: { ftype: 38, base: 'mxfp4', dense: 'q8_0' },
  nvfp4: { ftype: 39, base: 'nvfp4', loadedOnly: true },
  q1_0: { ftype: 40, base: 'q1_0' },
  q2_0: { ftype: 41, base: 'q2_0' },
} as const satisfies Record<string, FileTypeInfo>;

export type FileType = keyof typeof table;
export const fileTypes: Readonly<Record<FileType, FileTypeInfo>> = table;

/** llama-quantize's short names. */
const aliases: Readonly<Record<string, FileType>> = { q3_k: 'q3_k_m', q4_k: 'q4_k_m', q5_k: 'q5_k_m' };

/** Whether a mixture is called `name`. */
export function isFileType(name: string): name is FileType {
  return Object.hasOwn(table, name) && !fileTypes[name as FileType].loadedOnly;
}

/**
 * The file type called `name`, in any case; `q4_k` is `q4_k_m` as in llama-quantize.
 * @throws RecipeError for a name that is no file type.
 */
export function fileTypeNamed(name: string): FileType {
  const lower = name.toLowerCase();
  if (isFileType(lower)) return lower;
  if (Object.hasOwn(aliases, lower)) return aliases[lower] as FileType;
  throw new RecipeError({
    what: 'no such GGUF file type',
    value: name,
    next: `choose one of ${Object.keys(table).filter(isFileType).join(', ')}`,
  });
}

/** The file type with llama.cpp's number, or undefined when it is not one of ours. */
export function fileTypeOf(ftype: number): FileType | undefined {
  return (Object.keys(table) as FileType[]).find((name) => table[name].ftype === ftype);
}

export interface TypedTensor {
  ggufName: string;
  /** [out, in], outermost first; [experts, out, in] for experts in one tensor. */
  shape: readonly number[];
  /** The type it has in the source, which a tensor that is not quantized keeps. Default f32, as the converter writes it. */
  type?: StorageType;
}

export interface TypeQuestion {
  /** GGUF's `general.architecture`. */
  architecture: string;
  layers: number;
  heads: number;
  kvHeads: number;
  /** Experts of a layer; 0 in a dense model. */
  experts?: number;
  tensors: readonly TypedTensor[];
  fileType: FileType;
  /** Whether an importance matrix is given: it changes the choice of some file types. */
  imatrix: boolean;
  /** One tensor type for all that may be quantized. */
  pure?: boolean;
}

export interface TypeChoice {
  type: StorageType;
  /** What the mixture wanted; differs from `type` when the rows do not fit its blocks. */
  wanted: StorageType;
  /** Why the tensor is not quantized. */
  reason?: string;
  /** Why `type` is not `wanted`. */
  fallback?: string;
}

/**
 * llama.cpp's choice of a type for each tensor (`llama_tensor_get_type`), in the order of `tensors`.
 * Tensors of a category are counted layer by layer, whatever order they come in.
 */
export function chooseTypes(question: TypeQuestion): TypeChoice[] {
  const { tensors, fileType, layers, experts = 0 } = question;
  const { base, dense } = fileTypes[fileType];
  const categories = tensors.map(({ ggufName }) => categoryOf(ggufName));
  const tied = !categories.includes('output');
  const values = categories.filter((category) => category === 'v').length;
  const place: Omit<Place, 'index' | 'count'> = {
    sharing: question.kvHeads > 0 ? Math.floor(question.heads / question.kvHeads) : 0,
    experts,
    imatrix: question.imatrix,
    falcon: question.architecture === 'falcon',
    llama70b: question.architecture === 'llama' && layers === 80 && question.heads !== question.kvHeads,
  };

  const wantedFor = (category: Category, shape: readonly number[], index: number): StorageType => {
    if (!isMixed(base) || question.pure) return base;
    if (dense) return (shape.at(-3) ?? 1) > 1 ? base : dense;
    const cols = shape.at(-1)!;
    if (category === 'output' || (tied && category === 'embedding')) return outputType(base, cols, place.falcon);
    return mixtureType(fileType, base, category, { ...place, index, count: category === 'v' ? values : layers });
  };

  const seen = new Map<Category, number>();
  const choices = new Array<TypeChoice>(tensors.length);
  const order = tensors.map((_, i) => i).sort((a, b) => blockOrder(tensors[a]!.ggufName, tensors[b]!.ggufName));
  for (const i of order) {
    const { ggufName, shape, type = 'f32' } = tensors[i]!;
    const category = categories[i]!;
    if (!allowsQuantization(ggufName, shape)) {
      choices[i] = { type, wanted: type, reason: shape.length < 2 ? 'one-dimensional' : 'kept at high precision by llama.cpp' };
      continue;
    }
    const cols = shape.at(-1)!;
    const nth = seen.get(category) ?? 0;
    seen.set(category, nth + 1);
    // A layer of a mixture of experts may hold several tensors of a category: its number is read from the name.
    const index = experts > 1 && category === 'down' ? layerOf(ggufName) : nth;
    const wanted = wantedFor(category, shape, index);
    const fitting = isMixed(base) ? fittingType(wanted, cols) : wanted;
    choices[i] = {
      type: fitting,
      wanted,
      ...(fitting !== wanted && { fallback: `rows of ${cols} values do not fit ${wanted}'s blocks` }),
    };
  }
  return choices;
}

/** The output matrix, or the embedding that stands for it, has the last word on every token: at least Q6_K. */
function outputType(base: StorageType, cols: number, falcon: boolean): StorageType {
  return falcon || !fits(base, cols) || base === 'q8_0' ? 'q8_0' : 'q6_k';
}

function isMixed(base: StorageType): boolean {
  return base !== 'f32' && base !== 'f16' && base !== 'bf16';
}

function layerOf(ggufName: string): number {
  return Number(/^blk\.(\d+)\./.exec(ggufName)?.[1] ?? 0);
}
