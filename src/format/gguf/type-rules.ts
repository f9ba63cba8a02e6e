/**
 * llama.cpp's mixtures: which tensor of a Q4_K_M file is in fact Q6_K. The same decisions as `llama_tensor_get_type_impl`
 * (llama-quant.cpp), written as one table a tensor category: file type -> tensor type, or a function of the tensor's place.
 * A file type that a table lacks keeps its default type.
 */
import type { StorageType } from '../../tensor/storage.ts';
import type { FileType } from './types.ts';

export type Category = 'output' | 'embedding' | 'q' | 'k' | 'v' | 'attentionOutput' | 'gate' | 'up' | 'down' | 'other';

/** Where a tensor stands in its model. */
export interface Place {
  /** How many tensors of this category come before it (its layer, in an ordinary model), and how many there are. */
  index: number;
  count: number;
  /** Query heads a key/value head serves. */
  sharing: number;
  experts: number;
  imatrix: boolean;
  falcon: boolean;
  /** Llama of 80 layers with grouped-query attention: its attn_v is 8 times smaller than attn_q. */
  llama70b: boolean;
}

type Rule = StorageType | ((place: Place) => StorageType | undefined);
type Rules = Partial<Record<FileType, Rule>>;

/** The first and last eighth of the layers and each third one between them. Integer division as in C. */
function useMoreBits({ index, count }: Place): boolean {
  const eighth = Math.floor(count / 8);
  return index < eighth || index >= Math.floor((7 * count) / 8) || (index - eighth) % 3 === 2;
}

const firstOf = (parts: number, { index, count }: Place): boolean => index < Math.floor(count / parts);

const moreBits =
  (type: StorageType): Rule =>
  (place) =>
    useMoreBits(place) ? type : undefined;
const whenShared =
  (type: StorageType): Rule =>
  ({ sharing }) =>
    sharing >= 4 ? type : undefined;
const firstEighth =
  (type: StorageType, when: (place: Place) => boolean): Rule =>
  (place) =>
    when(place) && firstOf(8, place) ? type : undefined;

const value: Rules = {
  q2_k: ({ sharing }) => (sharing >= 4 ? 'q4_k' : 'q3_k'),
  q2_k_s: whenShared('q4_k'),
  q3_k_m: ({ index }) => (index < 2 ? 'q5_k' : 'q4_k'),
  q3_k_l: 'q5_k',
  q4_k_s: ({ index }) => (index < 4 ? 'q5_k' : undefined),
  q4_k_m: moreBits('q6_k'),
  q5_k_m: moreBits('q6_k'),
  iq4_nl: whenShared('q5_k'),
  iq4_xs: whenShared('q5_k'),
};

const down: Rules = {
  q2_k: 'q3_k',
  q2_k_s: firstEighth('q4_k', () => true),
  q3_k_m: (place) => (firstOf(16, place) ? 'q5_k' : !place.falcon || useMoreBits(place) ? 'q4_k' : undefined),
  q3_k_l: ({ falcon }) => (falcon ? 'q4_k' : 'q5_k'),
  q4_k_s: firstEighth('q5_k', ({ falcon }) => !falcon),
  q4_k_m: (place) => {
    if (!useMoreBits(place)) return undefined;
    return place.falcon && !firstOf(16, place) ? 'q5_k' : 'q6_k';
  },
  q5_k_m: moreBits('q6_k'),
  iq4_nl: firstEighth('q5_k', ({ imatrix }) => !imatrix),
  iq4_xs: firstEighth('q5_k', ({ imatrix }) => !imatrix),
  // An importance matrix can drive the symmetric types astray in the first down projections.
  q4_0: firstEighth('q4_1', ({ imatrix }) => imatrix),
  q5_0: firstEighth('q5_1', ({ imatrix }) => imatrix),
};

/** The embedding of models that have an output matrix of their own. */
const embedding: Rules = { tq1_0: 'q4_k', tq2_0: 'q4_k', q2_0: 'q4_k' };
const attentionOutput: Rules = { q2_k: 'q3_k', q3_k_m: 'q4_k', q3_k_l: 'q5_k' };
const attentionOutputFalcon: Rules = { q3_k_l: 'q4_k' };
/** Mixtures of exactly eight experts: attention is a small part of the file. */
const attentionOutput8: Rules = Object.fromEntries(
  (['q2_k', 'q3_k_s', 'q3_k_m', 'q4_k_s', 'q4_k_m', 'iq4_nl', 'iq4_xs'] as const).map((type) => [type, 'q5_k']),
) as Rules;

/** The tensor type that `fileType` wants for a tensor, before its shape is looked at. */
export function mixtureType(fileType: FileType, base: StorageType, category: Category, place: Place): StorageType {
  const look = (rules: Rules): StorageType => {
    const rule = rules[fileType];
    return (typeof rule === 'function' ? rule(place) : rule) ?? base;
  };
  switch (category) {
    case 'v': {
      if (place.experts === 8) return 'q8_0';
      const type = look(value);
      return place.llama70b && (type === 'q3_k' || type === 'q4_k') ? 'q5_k' : type;
    }
    case 'k':
      return place.experts === 8 ? 'q8_0' : base;
    case 'down':
      return look(down);
    case 'attentionOutput':
      return look(place.falcon ? attentionOutputFalcon : place.experts === 8 ? attentionOutput8 : attentionOutput);
    case 'embedding':
      return look(embedding);
    default:
      return base;
  }
}

const byName: readonly (readonly [part: string, category: Category])[] = [
  // A fused q, k, v and MLA's kv_b count as attn_v: they hold the value projection.
  ['attn_qkv.weight', 'v'],
  ['attn_kv_b.weight', 'v'],
  ['attn_v.weight', 'v'],
  ['attn_k.weight', 'k'],
  ['attn_q.weight', 'q'],
  ['attn_output.weight', 'attentionOutput'],
  ['ffn_up', 'up'],
  ['ffn_gate', 'gate'],
  ['ffn_down', 'down'],
];

export function categoryOf(ggufName: string): Category {
  if (ggufName === 'output.weight') return 'output';
  if (ggufName === 'token_embd.weight' || ggufName === 'per_layer_token_embd.weight') return 'embedding';
  return byName.find(([part]) => ggufName.includes(part))?.[1] ?? 'other';
}

/** Two-dimensional weights that stay as they are because they are tiny or sensitive (`tensor_allows_quantization`). */
const untouched = [
  '_norm.weight',
  'ffn_gate_inp.weight',
  'ffn_gate_tid2eid.weight',
  'altup',
  'laurel',
  'per_layer_model_proj',
  'ssm_conv1d',
  'shortconv.conv.weight',
  'indexer.k_proj.weight',
  'indexer.q_proj.weight',
  'time_mix_first.weight',
  'time_mix_w0.weight',
  'time_mix_w1.weight',
  'time_mix_w2.weight',
  'time_mix_v0.weight',
  'time_mix_v1.weight',
  'time_mix_v2.weight',
  'time_mix_a0.weight',
  'time_mix_a1.weight',
  'time_mix_a2.weight',
  'time_mix_g1.weight',
  'time_mix_g2.weight',
  'time_mix_decay_w1.weight',
  'time_mix_decay_w2.weight',
  'time_mix_lerp_fused.weight',
  'attn_rel_b.weight',
  '.position_embd',
  'sam.pos_embd',
  'sam.neck.',
  'sam.net_',
  '.rel_pos',
  '.patch_embd',
  '.patch_merger',
  'a.rvq.codebook',
  'mm.a.code_embd',
] as const;

/** Whether a tensor is quantized at all. `shape` is outermost first; leading ones do not count as dimensions. */
export function allowsQuantization(ggufName: string, shape: readonly number[]): boolean {
  const first = shape.findIndex((n) => n !== 1);
  const dimensions = first === -1 ? 1 : shape.length - first;
  return (
    dimensions >= 2 &&
    ggufName.endsWith('weight') &&
    ggufName !== 'position_embd.weight' &&
    ggufName !== 'token_types.weight' &&
    !untouched.some((part) => ggufName.includes(part))
  );
}
