/**
 * The container compressed-tensors: a Hugging Face folder as llm-compressor writes it and vLLM loads it. docs/formats.md describes
 * the bytes.
 */
import type { TensorHead } from '../../checkpoint/safetensors/index.ts';
import { integerForm } from '../../quantize/kinds/integer.ts';
import { type IntegerScheme, isPlainInteger } from '../../quantize/scheme.ts';
import type { TileForm } from '../../quantized/form.ts';
import type { ActivationScheme } from '../../quantized/types.ts';
import { type StorageType, storage } from '../../tensor/storage.ts';
import { type Capabilities, gridsOnly, unsaid } from '../capabilities.ts';
import { layoutFolder } from '../folder.ts';
import { placeLinears, provenanceMetadata } from '../linears.ts';
import { packTile } from '../packings.ts';
import { gridBits, rowsOfWords } from '../tile-fields.ts';
import type { Container } from '../types.ts';
import { compressedTensorsConfig, inputNames } from './config.ts';

/** Widths that loaders have kernels for, and that all versions pack alike. */
const packedBits: readonly number[] = [4, 8];

/** Inputs of int8: scales from the values themselves, or one known before. */
const says: Capabilities = {
  ...gridsOnly,
  input: {
    ...{ bits: [8], float: false, threshold: false },
    dynamic: { per: ['token', 'tensor'], asymmetric: false },
    static: { per: ['tensor'], asymmetric: true },
  },
};

/** Groups that vLLM's kernels of few bits know; 0: rows. */
const kernelGroups: readonly number[] = [0, 32, 64, 128];

export const compressedTensors: Container = {
  name: 'compressed-tensors',
  output: 'folder',
  extensions: [],
  convention:
    'computed in the dtype of the weight; symmetric: s = absmax / (2^(b-1) - 1/2), codes -2^(b-1) .. 2^(b-1) - 1; asymmetric: minmax; scales in the dtype of the weight',
  says,
  refuses(scheme, shape) {
    if (scheme.kind === 'keep') return undefined;
    if (scheme.kind === 'storage')
      return storage[scheme.type].block === 1 ? undefined : `${scheme.type} is a type of ggml, and linears here are integers`;
    const missing = unsaid(scheme, says);
    if (missing !== undefined) return missing;
    if (!isPlainInteger(scheme)) return 'its linears are integers under scales and nothing else';
    return refusedInteger(scheme) ?? refusedForm(formOf(scheme), shape);
  },
  customary: (symmetric, weightType) => ({
    range: symmetric ? 'absmax-half' : 'minmax',
    scaleType: weightType,
    signed: true,
    emptyGroup: 'epsilon',
    arithmetic: { compute: weightType, zero: 'beforeRounding' },
  }),
  holds,
  async layout(request) {
    const fields = { container: 'compressed-tensors', form: formOf, holds, head, constants, inputNames };
    const { tensors, linears, kept, warnings } = placeLinears(request, fields);
    // The head of a tied model has no weight of its own, but it is a linear that loaders would quantize.
    const ignore = request.model.spec?.tied ? [...kept, 'lm_head'] : kept;
    const layout = await layoutFolder(request, {
      tensors,
      metadata: () => provenanceMetadata(request),
      config: { quantization_config: compressedTensorsConfig(linears, ignore) },
    });
    return { ...layout, warnings: [...layout.warnings, ...warnings] };
  },
  pack: packTile,
  runtimes: ({ tensors }) => {
    const forms = tensors.flatMap(({ tile }) => (tile ? [tile] : []));
    const asymmetric8 = forms.some((tile) => tile.zero && gridBits(tile) === 8);
    const known = forms.every(({ scale }) => kernelGroups.includes(scale.group));
    return [...(asymmetric8 || !known ? [] : ['vLLM']), 'transformers (with compressed-tensors)', 'fewbits'];
  },
};

/** W8A8 and one scale a tensor are stored as plain int8, all else packed. */
function formOf(scheme: IntegerScheme): TileForm {
  const { zero, grid, ...form } = integerForm(scheme);
  const plain = scheme.input !== undefined || scheme.granularity === 'tensor';
  return packedAs(plain ? 'int8' : 'compressed-tensors', { ...form, grid, ...(zero && !scheme.symmetric && { zero }) });
}

function packedAs(packing: NonNullable<TileForm['packing']>, form: TileForm): TileForm {
  return { ...form, packing, grid: { ...form.grid, signed: true } as TileForm['grid'] };
}

function refusedInteger({ zero, input, symmetric, bits, granularity }: IntegerScheme): string | undefined {
  if (zero === 'float') return 'its zero points are integers';
  if (!input) return undefined;
  if (bits !== 8 || granularity !== 'channel' || !symmetric)
    return 'with quantized activations the weights are symmetric int8 with a scale a row: use --bits 8 --group -1';
  return undefined;
}

function refusedForm(form: TileForm, [rows = 0]: readonly number[]): string | undefined {
  const bits = gridBits(form);
  if (form.order) return 'it no longer has activation order by group (weight_g_idx): use static groups';
  if (!packedBits.includes(bits)) return 'its loaders have 4 and 8 bits';
  if (form.packing === 'int8' && bits !== 8) return 'one scale a tensor is stored for 8 bits only: use --group';
  if (form.packing === 'int8' && form.zero) return 'one scale a tensor is symmetric here';
  if (form.zero && rows % rowsOfWords(bits) !== 0)
    return `${rows} outputs do not fill the words of their zero points, ${rowsOfWords(bits)} a word; --symmetric has none`;
  return undefined;
}

/** @param input makes codes of 8 bits plain int8, as loaders expect them beside quantized activations */
function holds(form: TileForm, shape: readonly number[], input?: ActivationScheme): TileForm | string {
  const { grid, scale, zero } = form;
  if (grid.kind !== 'integer' || (zero && zero.kind !== 'integer')) return 'its codes and zero points are integers';
  if (!zero && !grid.signed) return 'its zero points are integers';
  const plain = scale.wholeTensor || form.packing === 'int8' || (input !== undefined && gridBits(form) === 8);
  const held = packedAs(plain ? 'int8' : 'compressed-tensors', form);
  return refusedForm(held, shape) ?? held;
}

function head(module: string, key: string, form: TileForm, [rows, cols]: readonly [number, number]): TensorHead {
  const bits = gridBits(form);
  const { group, wholeTensor, stored } = form.scale;
  const groups = group ? cols / group : 1;
  if (key === 'scale')
    return { name: `${module}.weight_scale`, type: stored as StorageType, shape: wholeTensor ? [1] : [rows, groups] };
  if (key === 'zero') return { name: `${module}.weight_zero_point`, type: 'i32', shape: [Math.ceil((rows * bits) / 32), groups] };
  if (form.packing === 'int8') return { name: `${module}.weight`, type: 'i8', shape: [rows, cols] };
  return { name: `${module}.weight_packed`, type: 'i32', shape: [rows, Math.ceil((cols * bits) / 32)] };
}

/** weight_shape, i64 [2]: packed rows may end within a word. */
function constants(module: string, { packing }: TileForm, shape: readonly [number, number]) {
  if (packing === 'int8') return [];
  const bytes = new Uint8Array(BigInt64Array.from(shape, BigInt).buffer);
  return [{ head: { name: `${module}.weight_shape`, type: 'i64' as const, shape: [2] }, bytes }];
}
