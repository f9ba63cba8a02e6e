/** What the bytes of a file tell about how it was quantized, for `inspect`. */
import { openSource, read } from '../io/index.ts';
import type { PackingName } from '../quantized/form.ts';
import type { StorageType } from '../tensor/storage.ts';
import { storage } from '../tensor/storage.ts';
import { provenanceOf } from './fewbits/fields.ts';
import { fileTypeOf } from './gguf/types.ts';
import type { Model, WeightTensor } from './types.ts';

/** Blocks looked at of each type. */
const SAMPLE_BLOCKS = 4096;

/** One sentence each; only a sample of the weights is read. */
export async function conventions(model: Model): Promise<string[]> {
  return model.container === 'gguf' ? ggufConventions(model) : fewbitsConventions(model);
}

/** Which of the ways to pack the first quantized linear has. */
const packed: Readonly<Partial<Record<PackingName, string>>> = {
  gptq: 'zero points stored minus one (checkpoint_format gptq)',
  gptq_v2: 'zero points stored as they are (checkpoint_format gptq_v2)',
  'compressed-tensors': 'codes packed across words',
  'compressed-tensors-words': 'floor(32 / bits) codes a word, as compressed-tensors packed before 2026',
  int8: 'plain int8',
};

function fewbitsConventions({ checkpoint, tensors }: Model): string[] {
  const tile = tensors.map(({ stored }) => (stored.form === 'tile' ? stored.tile : undefined)).find((one) => one !== undefined);
  const said = tile?.packing && packed[tile.packing];
  const made = provenanceOf(checkpoint) ?? {};
  return [
    ...(said ? [said + (tile.order ? ', columns in activation order' : '')] : []),
    ...(made.version ? [`made by fewbits ${made.version}`] : []),
    ...(made.source ? [`made from the source with fingerprint ${made.source}`] : []),
    ...(made.recipe ? [`recipe ${JSON.stringify(made.recipe)}`] : []),
  ];
}

async function ggufConventions({ checkpoint, tensors }: Model): Promise<string[]> {
  const said = checkpoint.gguf?.get('general.file_type')?.value;
  const version = checkpoint.gguf?.get('fewbits.version')?.value;
  const name = said === undefined ? undefined : fileTypeOf(Number(said));
  const found = [
    ...(said === undefined ? [] : [name ? `file type ${name} (${said})` : `file type ${said}, which is none that we write`]),
    ...(version === undefined ? [] : [`made by fewbits ${version}`]),
  ];
  for (const type of Object.keys(judges) as (keyof typeof judges)[]) {
    const tensor = tensors.find((one) => one.type === type);
    if (tensor) found.push(await judged(tensor, type));
  }
  return found;
}

/** Whether a block's codes have their extreme where ggml's encoder puts it. block: the bytes after the scale. */
type Judge = { what: string; ggml(block: Uint8Array): boolean };

const judges = {
  q4_0: {
    what: 'full range -8..7, the largest weight of a block at -8',
    ggml: (block) => block.some((byte) => (byte & 15) === 0 || byte >> 4 === 0),
  },
  q5_0: {
    what: 'full range -16..15, the largest weight of a block at -16',
    // The value -16 is code 0: nibble and fifth bit both 0.
    ggml: (block) => Array.from({ length: 32 }, (_, i) => i).some((i) => fifthBit(block, i) === 0 && nibble(block, i) === 0),
  },
  q8_0: {
    what: 'narrow range -127..127, the largest weight of a block at 127 or -127',
    ggml: (block) => {
      const codes = new Int8Array(block.buffer, block.byteOffset, block.length);
      return !codes.includes(-128) && (codes.includes(127) || codes.includes(-127));
    },
  },
} satisfies Partial<Record<StorageType, Judge>>;

function nibble(block: Uint8Array, i: number): number {
  const byte = block[4 + (i % 16)]!;
  return i < 16 ? byte & 15 : byte >> 4;
}

function fifthBit(block: Uint8Array, i: number): number {
  return (block[i >> 3]! >> (i & 7)) & 1;
}

async function judged({ stored }: WeightTensor, type: keyof typeof judges): Promise<string> {
  const { what, ggml }: Judge = judges[type];
  const size = storage[type].bytes;
  const data = stored.form === 'storage' ? stored.data : undefined;
  if (!data) return `${type}: not stored as blocks`;
  const count = Math.min(SAMPLE_BLOCKS, Math.floor((stored.rows * data.rowBytes) / size));
  const source = await openSource(data.handle);
  try {
    const bytes = await read(source, data.offset, count * size);
    const blocks = Array.from({ length: count }, (_, b) => bytes.subarray(b * size, (b + 1) * size));
    const used = blocks.filter((block) => block[0] !== 0 || block[1] !== 0); // a scale of 0: all weights are 0
    const alike = used.filter((block) => ggml(block.subarray(2))).length;
    return alike === used.length
      ? `${type}: ggml's own convention, ${what}`
      : `${type}: not ggml's own convention (${what}) in ${used.length - alike} of ${used.length} blocks looked at`;
  } finally {
    await source.close();
  }
}
