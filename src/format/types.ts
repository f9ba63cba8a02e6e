/**
 * What stands between a tensor and its bytes in a container.
 *
 * Reading: a container resolves each tensor into a `StoredTensor`: which byte ranges hold it and how rows are decoded. It is
 * plain data, so that a worker can decode rows by itself.
 * Writing: a container lays its files out from the schemes alone (`layout`), so that every byte range is known before the first
 * byte is written and any worker can write any rows at any time.
 */
import type { Checkpoint, GgufMetadata, JsonObject, Sidecar } from '../checkpoint/types.ts';
import type { ByteSource, SourceHandle } from '../io/types.ts';
import type { ModelSpec, Role } from '../model/types.ts';
import type { IntegerScheme, Scheme } from '../quantize/scheme.ts';
import type { OnlineRotation } from '../quantize/transform/types.ts';
import type { TileForm } from '../quantized/form.ts';
import type { ActivationScheme, KvScheme, QuantizedTile } from '../quantized/types.ts';
import type { StorageType } from '../tensor/storage.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import type { Capabilities } from './capabilities.ts';

/** A run of equal rows in a file: row r lies at offset + r * rowBytes. */
export interface Field {
  handle: SourceHandle;
  offset: number;
  /** May be a fraction where rows share a word: then only multiples of `rowMultipleOf` rows are read. */
  rowBytes: number;
  /** The field is not made of rows: these bytes belong to the whole tensor (a scale per tensor). */
  whole?: number;
  /**
   * A transposed field: row r is `rowBytes` bytes of each of `lines` lines of `lineBytes` bytes, line l at offset + l * lineBytes.
   * In memory the rows of a tile are [lines, rows * rowBytes].
   */
  stripes?: Stripes;
  /** Rows of unequal length: row r begins at offset + valuesBefore(perRow, r) * bytes, and rowBytes is their mean. */
  quota?: Quota;
}

export interface Quota {
  /** Values, not a whole number. */
  perRow: number;
  /** Of a value. */
  bytes: number;
}

export interface Stripes {
  lines: number;
  lineBytes: number;
}

/** A tensor as a container holds it, [rows, cols]; every dimension but the last counts as rows. */
export type StoredTensor = { rows: number; cols: number; order?: RowOrder } & (
  | { form: 'storage'; type: StorageType; data: Field }
  | { form: 'tile'; tile: TileForm; fields: Record<string, Field> }
  | { form: 'values'; values: Float32Array }
);

/**
 * llama-family GGUF files hold the rows of q and k interleaved: file row h*d + 2i + j is canonical row h*d + j*d/2 + i
 * (d = rows / heads; convert_hf_to_gguf.py `permute`). `interleave` goes from canonical to GGUF, `deinterleave` back.
 */
export interface RowOrder {
  heads: number;
  way: 'interleave' | 'deinterleave';
}

/** One tensor of a model, whatever holds it. */
export interface WeightTensor {
  /** How the linear's input is quantized at run time. */
  readonly input?: ActivationScheme;
  /** Canonical: the Hugging Face name where the architecture is known, else the name in the file. */
  readonly name: string;
  /** The name in the file it was read from. */
  readonly fileName: string;
  /** The name llama.cpp gives it, where the architecture is known. */
  readonly gguf?: string;
  /** Heads whose rows GGUF interleaves (q and k of llama-family models). */
  readonly permute?: number;
  readonly role: Role;
  readonly layer?: number;
  readonly shape: readonly number[];
  /** In canonical row order. */
  readonly stored: StoredTensor;
  /** Short name of how it is stored: 'bf16', 'q4_k', 'int4 g128'. */
  readonly type: string;
  readonly bytes: number;
}

/** A checkpoint that is understood: architecture, roles, how every tensor is decoded. */
export interface Model {
  /** As the user named it. */
  readonly name: string;
  readonly container: ContainerName | 'huggingface' | 'safetensors';
  readonly checkpoint: Checkpoint;
  /** Absent for a bag of tensors. */
  readonly spec?: ModelSpec;
  readonly tensors: readonly WeightTensor[];
  /** Rotations that the model computes while it runs. */
  readonly online?: readonly OnlineRotation[];
  /** How keys and values are stored while it generates. */
  readonly kv?: KvScheme;
  /** For a source that is not a folder (GGUF): makes what a folder needs besides the weights. */
  readonly folderFiles?: () => Promise<FolderFiles>;
  /** What could not be understood and is said once. */
  readonly warnings: readonly string[];
  /** @throws ModelError when the model has no tokenizer. */
  tokenizer(): Promise<Tokenizer>;
  close(): Promise<void>;
}

/** The files of a Hugging Face folder that say what its weights mean, made from another container's metadata. */
export interface FolderFiles {
  config: JsonObject;
  texts: { name: string; text: string }[];
  /** What the files cannot say. */
  warnings: string[];
}

export type ContainerName = 'gguf' | 'fewbits' | 'safetensors' | 'gptq' | 'compressed-tensors';

/** One tensor of the output: what it becomes and where its rows go. */
export interface PlacedTensor {
  /** The name in the output. */
  name: string;
  /** Canonical name, for recipes and reports. */
  source: string;
  role: Role;
  shape: readonly number[];
  /** Where the values come from, rows in the order of the output. */
  from: StoredTensor;
  scheme: Scheme;
  /** Short name of the scheme: 'q4_k', 'int4 g128 sym'. */
  label: string;
  /** Field key ('data', 'codes', 'scale', 'zero') -> output file, offset of row 0, bytes a row. `whole`: bytes of the whole tensor. */
  fields: Record<string, { file: number; offset: number; rowBytes: number; whole?: number; stripes?: Stripes; quota?: Quota }>;
  /** How the output is decoded again; handles are filled in by the run. */
  tile?: TileForm;
  /** Where the levels of a static input go, which calibration finds. */
  input?: Partial<Record<InputField, PlacedInput>>;
  bytes: number;
  /** Tiles hold a multiple of this many rows. */
  rowMultiple: number;
}

/** Scale and zero point of a static input. */
export type InputField = 'scale' | 'zero';

export interface PlacedInput {
  file: number;
  offset: number;
  bytes: number;
  /** Scales are floats, zero points i8. */
  type: StorageType;
}

export interface OutputFile {
  name: string;
  size: number;
  /** Bytes that are known before any tensor is: headers, metadata, constant tensors, padding is zero. */
  known: readonly { offset: number; bytes: Uint8Array }[];
  /** Copied as it is: tokenizer, chat template. */
  copy?: ByteSource;
}

export interface Layout {
  files: OutputFile[];
  tensors: PlacedTensor[];
  warnings: string[];
}

export interface LayoutRequest {
  model: Model;
  /** The scheme of each tensor of the model, in the model's order. */
  schemes: readonly { tensor: WeightTensor; scheme: Scheme }[];
  /** The GGUF file type the recipe names, if any. */
  fileType?: string;
  /** Name of the output without its folder: 'model.gguf', 'quantized/'. */
  output: string;
  outputKind: 'file' | 'folder';
  maxShardSize?: number;
  /** Written into the output; undefined where the output must equal a plain conversion. */
  provenance?: Provenance;
  recipe: JsonObject;
}

/** What made a file: the same inputs give the same bytes, so neither time nor path nor platform is in it. */
export interface Provenance {
  version: string;
  /** Fingerprint of the source's headers and sizes. */
  source: string;
  recipe: JsonObject;
}

/** The dtype in which a model's weights are, before they are quantized. */
export type WeightType = 'f32' | 'f16' | 'bf16';

/** One container: a folder of this floor and a row of registry.ts. */
export interface Container {
  readonly name: ContainerName;
  readonly output: 'file' | 'folder' | 'either';
  readonly extensions: readonly string[];
  /** What the container does by custom, printed by plan. */
  readonly convention: string;
  /** It says which rotations stay in the model, and how keys and values are stored. */
  readonly statesRunTime?: boolean;
  /** Of tensors whose codes are chosen with feedback; default: `convention`, which says where their scales begin. */
  readonly feedbackConvention?: string;
  /** It stores which group each column belongs to (g_idx): groups can be runs of the activation order. */
  readonly groupIndex?: boolean;
  /** What it can say of a scheme besides its grid; `refuses` asks it. */
  readonly says: Capabilities;
  /** Why the container cannot hold the scheme; undefined when it can. */
  refuses(scheme: Scheme, shape: readonly number[]): string | undefined;
  /** How the tools of the container quantize round to nearest, where it differs from ours. */
  customary?(symmetric: boolean, weightType: WeightType): Partial<IntegerScheme>;
  /** The form in which it holds codes that are there already, without changing a value; or why it cannot. */
  holds?(form: TileForm, shape: readonly number[]): TileForm | string;
  layout(request: LayoutRequest): Promise<Layout>;
  /** Packs a tile into the rows of its fields. */
  pack(tile: QuantizedTile, form: TileForm): Record<string, Uint8Array>;
  /** Runtimes that load the output, and why others do not. */
  runtimes(layout: Layout, model: Model): string[];
}

/** Metadata that travels from a GGUF source to a GGUF output. */
export type { GgufMetadata, Sidecar };
