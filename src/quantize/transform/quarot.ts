/**
 * QuaRot (Ashkboos et al., arXiv 2404.00456; spcl/QuaRot, rotation_utils.py): rotations that spread outliers over all channels.
 * R1 turns the hidden states, R2 the values of each head, R4 the input of down, R3 queries and keys. The first two disappear into the
 * weights; R3, R4 and the mixing of heads in front of o stay in the model. Norm gains are folded first, as only x / |x| commutes with
 * a rotation. The authors' code also subtracts the mean of each embedding row, which is right behind LayerNorm only: not done here.
 */
import { RecipeError } from '../../errors.ts';
import { type Fold, modelFolds, residualStream } from '../../model/folds.ts';
import { linearOf } from '../../model/inputs.ts';
import { modelTensors } from '../../model/tensors.ts';
import type { ModelSpec } from '../../model/types.ts';
import { hadamardOf } from './hadamard.ts';
import type { TensorOperation } from './operations.ts';
import { type Rotation, randomRotation } from './rotation.ts';
import type { ModelRewrite, OnlineRotation, Skipped } from './types.ts';

export interface QuarotOptions {
  /** Of the random signs, or the random orthogonal matrix, of R1 (default 0). */
  readonly seed?: number;
  /** R1 itself, [hidden]; default `randomRotation(hidden, seed)`. False: hidden states stay as they are. */
  readonly hidden?: Rotation | false;
  /** R2. perHead: within each head, nothing is left at run time (default); full: over all heads, which are mixed at run time. */
  readonly values?: 'perHead' | 'full' | false;
  /** R4: the input of down, turned at run time (default false). */
  readonly down?: boolean;
  /** R3: queries and keys after their rotary positions, for a quantized cache (default false). */
  readonly queryKey?: boolean;
}

/** The name that an untied head gets: what the architecture calls its output matrix. */
function headTensor(spec: ModelSpec): string {
  return modelTensors({ ...spec, tied: false }).find(({ role }) => role === 'output')!.name;
}

/**
 * The rewrite of a whole model. Needs no weights: norm gains are read with `gain`.
 * @param gain f32 [hidden] of a norm, by canonical name
 */
export async function quarot(
  spec: ModelSpec,
  gain: (name: string) => Promise<Float32Array>,
  { seed = 0, hidden, values = 'perHead', down = false, queryKey = false }: QuarotOptions = {},
): Promise<ModelRewrite> {
  const operations: TensorOperation[] = [];
  const online: OnlineRotation[] = [];
  const skipped: Skipped[] = [];
  const untied = spec.tied && hidden !== false ? { tensor: headTensor(spec), from: residualStream(spec).embedding } : undefined;

  const rotation = hidden === false ? undefined : (hidden ?? randomRotation(spec.hidden, seed));
  if (rotation) {
    if (rotation.size !== spec.hidden)
      throw new RecipeError({
        what: 'the rotation of the hidden states has another width',
        value: rotation.size,
        limit: spec.hidden,
      });
    operations.push(...(await rotateHidden(spec, gain, rotation, untied?.tensor)));
  }
  for (const fold of modelFolds(spec)) {
    if (fold.heads && values) rotateValues(fold, values, operations, online, skipped);
    else if (fold.from.kind === 'linear' && !fold.heads && down) rotateInput(fold, operations, online, skipped);
  }
  if (queryKey) {
    const rotation = plainHadamard(spec.headDim);
    if (!rotation) skipped.push({ linears: [], reason: noHadamard('queries and keys', spec.headDim) });
    else for (let layer = 0; layer < spec.layers; layer++) online.push({ at: 'queryKey', layer, rotation });
  }
  const turned = rotation && (hidden ? described(rotation) : { kind: rotation.kind, size: rotation.size, seed });
  const description = {
    kind: 'quarot',
    hidden: turned ?? false,
    values,
    down,
    queryKey,
    online: online.map(describeOnline),
  } as const;
  return { description, operations, clips: [], online, skipped, ...(untied && { untied }) };
}

/** As JSON: signs as a string of + and -. */
function described(rotation: Rotation): Record<string, unknown> {
  if (rotation.kind === 'orthogonal') return { ...rotation };
  const { kind, size, signs } = rotation;
  return { kind, size, ...(signs && { signs: Array.from(signs, (sign) => (sign > 0 ? '+' : '-')).join('') }) };
}

function describeOnline(online: OnlineRotation): Record<string, unknown> {
  return { ...online, rotation: described(online.rotation) };
}

async function rotateHidden(
  spec: ModelSpec,
  gain: (name: string) => Promise<Float32Array>,
  rotation: Rotation,
  head: string | undefined,
): Promise<TensorOperation[]> {
  const { embedding, writers, readers } = residualStream(spec);
  const operations: TensorOperation[] = [];
  const rotate = (tensor: string, axis: 'rows' | 'columns') => operations.push({ kind: 'rotate', tensor, axis, rotation });
  rotate(embedding, 'columns');
  for (const { from, to, tied } of readers) {
    const norm = (from as Extract<Fold['from'], { kind: 'norm' }>).gain;
    const by = await gain(norm);
    for (const tensor of tied ? [head!] : to) {
      operations.push({ kind: 'scale', tensor, axis: 'columns', by });
      rotate(tensor, 'columns');
    }
    operations.push({ kind: 'fill', tensor: norm, value: 1 });
  }
  for (const { weight, bias } of writers) {
    rotate(weight, 'rows');
    if (bias !== undefined) rotate(bias, 'rows');
  }
  return operations;
}

/**
 * v's outputs by head, and the inputs of o to match. Over all heads that is H(heads) ⊗ H(headDim), which for heads of a power of two
 * is the Hadamard matrix of o's width.
 */
function rotateValues(
  { from, to, heads }: Fold,
  values: 'perHead' | 'full',
  operations: TensorOperation[],
  online: OnlineRotation[],
  skipped: Skipped[],
): void {
  const { headDim, heads: count } = heads!;
  const rotation = plainHadamard(headDim);
  const mixing = values === 'full' ? plainHadamard(count) : undefined;
  if (!rotation) return void skipped.push({ linears: to, reason: noHadamard('the values of a head', headDim) });
  if (values === 'full' && !mixing) return void skipped.push({ linears: to, reason: noHadamard('mixing heads', count) });
  const source = from as Extract<Fold['from'], { kind: 'linear' }>;
  for (const tensor of [source.weight, ...(source.bias === undefined ? [] : [source.bias])])
    operations.push({ kind: 'rotate', tensor, axis: 'rows', rotation });
  for (const tensor of to) {
    operations.push({ kind: 'rotate', tensor, axis: 'columns', rotation });
    if (!mixing) continue;
    operations.push({ kind: 'rotate', tensor, axis: 'columns', rotation: mixing, stride: headDim });
    online.push({ at: 'input', linear: linearOf(tensor), rotation: mixing, stride: headDim });
  }
}

function rotateInput({ to, width }: Fold, operations: TensorOperation[], online: OnlineRotation[], skipped: Skipped[]): void {
  const rotation = plainHadamard(width);
  if (!rotation) return void skipped.push({ linears: to, reason: noHadamard('the input of down', width) });
  for (const tensor of to) {
    operations.push({ kind: 'rotate', tensor, axis: 'columns', rotation });
    online.push({ at: 'input', linear: linearOf(tensor), rotation });
  }
}

function plainHadamard(size: number): Rotation | undefined {
  return hadamardOf(size) && { kind: 'hadamard', size };
}

function noHadamard(what: string, width: number): string {
  return `${what}: there is no Hadamard matrix of size ${width}`;
}
