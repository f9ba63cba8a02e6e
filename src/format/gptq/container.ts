/**
 * The container GPTQ: a Hugging Face folder whose linears are transposed words of codes, as AutoGPTQ and GPTQModel write them.
 * docs/formats.md describes the bytes.
 */
import type { TensorHead } from '../../checkpoint/safetensors/index.ts';
import { integerForm } from '../../quantize/kinds/integer.ts';
import { isPlainInteger } from '../../quantize/scheme.ts';
import type { TileForm } from '../../quantized/form.ts';
import { storage } from '../../tensor/storage.ts';
import { gridsOnly, unsaid } from '../capabilities.ts';
import { layoutFolder } from '../folder.ts';
import { placeLinears, provenanceMetadata } from '../linears.ts';
import { packTile } from '../packings.ts';
import { gridBits, rowsOfWords } from '../tile-fields.ts';
import type { Container, Layout } from '../types.ts';
import { gptqBits, gptqConfig, versionOf } from './config.ts';

export const gptq: Container = {
  name: 'gptq',
  groupIndex: true,
  output: 'folder',
  extensions: [],
  convention:
    'symmetric: s = 2 absmax / (2^b - 1), zero point in the middle, checkpoint_format gptq (stored minus one); asymmetric: minmax, checkpoint_format gptq_v2 (stored as it is), because a zero point of 0 minus one would borrow from its neighbour; scales f16',
  says: gridsOnly,
  refuses(scheme, shape) {
    if (scheme.kind === 'keep') return undefined;
    if (scheme.kind === 'storage')
      return storage[scheme.type].block === 1 ? undefined : `${scheme.type} is a type of ggml, and linears here are integers`;
    const missing = unsaid(scheme, gridsOnly);
    if (missing !== undefined) return missing;
    if (!isPlainInteger(scheme)) return 'its linears are integers under scales and nothing else';
    if (scheme.granularity === 'tensor') return 'scales are shared by groups or rows: use --group';
    if (scheme.zero === 'float') return 'its zero points are integers';
    if (scheme.scaleType !== 'f16') return 'its scales are f16';
    return misshapen(scheme.bits, shape);
  },
  customary: (symmetric) => ({
    range: symmetric ? 'absmax-gptq' : 'minmax',
    scaleType: 'f16',
    signed: false,
    emptyGroup: 'unit',
    arithmetic: { compute: 'f32', scale: 'beforeCast' },
  }),
  holds,
  async layout(request) {
    const { tensors, linears, kept, warnings } = placeLinears(request, {
      container: 'gptq',
      form: (scheme) => formOf(integerForm(scheme), scheme.symmetric),
      holds,
      head,
      bias: 'f16',
    });
    // One format a model: version 2 where any zero point is not in the middle.
    const packing = versionOf(linears) === 2 ? 'gptq_v2' : 'gptq';
    const placed = tensors.map((one) => {
      const { tile } = one.tensor;
      return tile ? { ...one, tensor: { ...one.tensor, tile: { ...tile, packing } } } : one;
    }) as typeof tensors;
    const config = gptqConfig(linears, kept, request.provenance);
    const layout = await layoutFolder(request, {
      tensors: placed,
      metadata: () => provenanceMetadata(request),
      config: { quantization_config: config },
      files: [{ name: 'quantize_config.json', text: JSON.stringify(config, null, 2) }],
    });
    return { ...layout, warnings: [...layout.warnings, ...warnings] };
  },
  pack: packTile,
  runtimes,
};

/** A symmetric grid has all its zero points in the middle: they need no level of their own. */
function formOf(form: TileForm, symmetric = !form.zero): TileForm {
  const { zero, grid, ...rest } = form;
  return {
    ...rest,
    packing: 'gptq',
    grid: { ...grid, signed: symmetric } as TileForm['grid'],
    ...(!symmetric && zero && { zero }),
  };
}

function misshapen(bits: number, [rows = 0, cols = 0]: readonly number[]): string | undefined {
  if (!gptqBits.includes(bits)) return `it has codes of ${gptqBits.join(', ')} bits`;
  const unit = rowsOfWords(bits);
  const what = cols % unit ? `rows of ${cols} inputs` : rows % unit ? `columns of ${rows} outputs` : undefined;
  return what && `${what} do not fill words of 32 bits, ${unit} codes of ${bits} bits`;
}

function holds(form: TileForm, shape: readonly number[]): TileForm | string {
  const { grid, scale, zero } = form;
  if (grid.kind !== 'integer') return 'its codes are integers';
  if (scale.stored !== 'f16')
    return `its scales are f16, not ${typeof scale.stored === 'string' ? scale.stored : `integers of ${scale.stored.bits} bits under a float`}`;
  if (scale.wholeTensor) return 'its scales are shared by groups or rows';
  if (!zero && !grid.signed) return 'its zero points are integers';
  if (zero && zero.kind !== 'integer') return 'its zero points are integers';
  return misshapen(grid.bits, shape) ?? formOf(form);
}

const names = { codes: 'qweight', scale: 'scales', zero: 'qzeros', g_idx: 'g_idx' } as const;

function head(module: string, key: string, form: TileForm, [rows, cols]: readonly [number, number]): TensorHead {
  const bits = gridBits(form);
  const groups = form.scale.group ? cols / form.scale.group : 1;
  const shapes = {
    codes: [(cols * bits) / 32, rows],
    scale: [groups, rows],
    zero: [groups, (rows * bits) / 32],
    g_idx: [cols],
  };
  const field = key as keyof typeof names;
  return { name: `${module}.${names[field]}`, type: field === 'scale' ? 'f16' : 'i32', shape: shapes[field] };
}

/** Groups that the fast kernels of vLLM have. */
const marlinGroups: readonly number[] = [0, 32, 64, 128];

function runtimes({ tensors }: Layout): string[] {
  const forms = tensors.flatMap(({ tile }) => (tile ? [tile] : []));
  const marlin = forms.every((form) => [4, 8].includes(gridBits(form)) && !form.zero && marlinGroups.includes(form.scale.group));
  return [...(marlin ? ['vLLM', 'SGLang'] : []), 'GPTQModel', 'transformers (with GPTQModel)', 'fewbits'];
}
