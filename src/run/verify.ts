/**
 * Verification of a file that lies on disk: structure and bounds are checked by the reader; then every tensor is decoded and looked
 * through for NaN and Inf, and compared with the model it was made from when that is given.
 */

import { type TensorError, type TileErrors, tensorError } from '../evaluate/tensor-report.ts';
import { provenanceOf } from '../format/fewbits/fields.ts';
import { fingerprint } from '../format/fingerprint.ts';
import { fetchRows } from '../format/read-rows.ts';
import { rowStep } from '../format/row-order.ts';
import type { Model, WeightTensor } from '../format/types.ts';
import { compareRows } from './compare-rows.ts';
import { tileTools } from './tile-tools.ts';

export interface VerifiedTensor extends Partial<TensorError> {
  name: string;
  type: string;
  bytes: number;
}

export interface Verification {
  ok: boolean;
  problems: string[];
  tensors: VerifiedTensor[];
}

const STEP_VALUES = 2 ** 20;

/**
 * Rope factors may be on one side only: containers hold them or what they follow from.
 * @throws FileError when bytes cannot be read. Everything that is wrong with the content is a problem in the result.
 */
export async function verify(model: Model, against?: Model, signal?: AbortSignal): Promise<Verification> {
  const problems: string[] = [];
  const tensors: VerifiedTensor[] = [];
  if (against) problems.push(...(await provenanceProblems(model, against)));
  const originals = new Map(against?.tensors.map((tensor) => [tensor.name, tensor]));
  for (const tensor of model.tensors) {
    signal?.throwIfAborted();
    const original = originals.get(tensor.name);
    if (against && !original && tensor.role !== 'rope') problems.push(`${tensor.name} is not in ${against.name}`);
    const { errors, problem } = await look(tensor, original);
    if (problem) problems.push(problem);
    const error = errors && tensorError(tensor.name, tensor.stored.rows, errors);
    tensors.push({ ...error, name: tensor.name, type: tensor.type, bytes: tensor.bytes });
  }
  const present = new Set(model.tensors.map((tensor) => tensor.name));
  for (const [name, { role }] of originals)
    if (!present.has(name) && role !== 'rope') problems.push(`${name} of ${against!.name} is missing`);
  return { ok: problems.length === 0, problems, tensors };
}

async function look(tensor: WeightTensor, original?: WeightTensor): Promise<{ errors?: TileErrors[]; problem?: string }> {
  const { kernels, open } = await tools();
  const { stored } = tensor;
  if (original && `${original.shape}` !== `${tensor.shape}`) {
    return { problem: `${tensor.name} has shape [${tensor.shape}], the original [${original.shape}]` };
  }
  const step = rowStep(STEP_VALUES, stored, ...(original ? [original.stored] : []));
  const errors: TileErrors[] = [];
  for (let from = 0; from < stored.rows; from += step) {
    kernels.reset();
    const to = Math.min(stored.rows, from + step);
    const count = (to - from) * stored.cols;
    const rows = await fetchRows(kernels, open, stored, from, to);
    if (!rows.decodable) return {};
    const y = kernels.alloc(count * 4);
    rows.decode(0, to - from, y);
    const bad = kernels.call('first_nonfinite', y, count);
    if (bad >= 0) {
      return {
        problem: `${tensor.name}[${from + Math.floor(bad / stored.cols)}, ${bad % stored.cols}] is ${kernels.f32(y + bad * 4, 1)[0]}`,
      };
    }
    if (!original) continue;
    const source = await fetchRows(kernels, open, original.stored, from, to);
    const tile = compareRows(kernels, { from, cols: stored.cols }, source, rows);
    if (!tile) return {};
    errors.push(tile);
  }
  return original ? { errors } : {};
}

let shared: ReturnType<typeof tileTools> | undefined;
function tools(): ReturnType<typeof tileTools> {
  shared ??= tileTools();
  return shared;
}

/** A file of ours names the source it was made from. */
async function provenanceProblems(model: Model, against: Model): Promise<string[]> {
  const named = sourceOf(model);
  if (named === undefined || named === (await fingerprint(against.checkpoint))) return [];
  return [`${model.name} was made from another source than ${against.name}: its provenance hash differs`];
}

function sourceOf({ checkpoint }: Model): string | undefined {
  const key = checkpoint.gguf?.get('fewbits.source');
  return key?.type === 'string' ? key.value : provenanceOf(checkpoint)?.source;
}
