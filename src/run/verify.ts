/**
 * Verification of a file that lies on disk: structure and bounds are checked by the reader; then every tensor is decoded and looked
 * through for NaN and Inf, and compared with the model it was made from when that is given.
 */

import { type TensorError, type TileErrors, tensorError } from '../evaluate/tensor-report.ts';
import { provenanceOf } from '../format/fewbits/fields.ts';
import { fingerprint } from '../format/fingerprint.ts';
import type { FetchedRows } from '../format/read-rows.ts';
import type { Model, WeightTensor } from '../format/types.ts';
import { firstBadScale } from '../kernels/index.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { isWeightScheme, type Scheme } from '../quantize/scheme.ts';
import { parseRecipe, type Recipe } from '../recipe/schema.ts';
import { storage } from '../tensor/storage.ts';
import { compareRows, stepLimit } from './compare-rows.ts';
import { decoded, RowReader } from './row-reader.ts';

export interface VerifiedTensor extends Partial<TensorError> {
  name: string;
  type: string;
  bytes: number;
  /**
   * decoded: every value was decoded and is finite; compared: and measured against the original; bytes: integers, equal to the
   * original's bytes or without one; undecodable: a block type that has no decoder here, of which only the scales were looked at.
   */
  checked: 'decoded' | 'compared' | 'bytes' | 'undecodable';
}

export interface Verification {
  ok: boolean;
  problems: string[];
  /** What could not be looked at as closely as the rest. */
  warnings: string[];
  tensors: VerifiedTensor[];
}

/**
 * Rope factors may be on one side only: containers hold them or what they follow from.
 * @throws FileError when bytes cannot be read. Everything that is wrong with the content is a problem in the result.
 */
export async function verify(model: Model, against?: Model, signal?: AbortSignal): Promise<Verification> {
  const problems: string[] = [];
  const tensors: VerifiedTensor[] = [];
  if (against) problems.push(...(await provenanceProblems(model, against)));
  const originals = new Map(against?.tensors.map((tensor) => [tensor.name, tensor]));
  const limit = roundingLimit(model);
  const reader = new RowReader();
  try {
    for (const tensor of model.tensors) {
      signal?.throwIfAborted();
      const original = originals.get(tensor.name);
      if (against && !original && tensor.role !== 'rope') problems.push(`${tensor.name} is not in ${against.name}`);
      const { errors, problem, checked } = await look(reader, tensor, limit, original);
      if (problem) problems.push(problem);
      const error = errors && tensorError(tensor.name, tensor.stored.rows, errors);
      tensors.push({ ...error, name: tensor.name, type: tensor.type, bytes: tensor.bytes, checked });
    }
  } finally {
    await reader.close();
  }
  const present = new Set(model.tensors.map((tensor) => tensor.name));
  for (const [name, { role }] of originals)
    if (!present.has(name) && role !== 'rope') problems.push(`${name} of ${against!.name} is missing`);
  const blind = tensors.filter(({ checked }) => checked === 'undecodable');
  const warnings = blind.length
    ? [
        `${blind.length} tensors of types that cannot be decoded here were not looked into: ${[...new Set(blind.map((t) => t.type))].join(', ')}`,
      ]
    : [];
  return { ok: problems.length === 0, problems, warnings, tensors };
}

interface Look {
  checked: VerifiedTensor['checked'];
  errors?: TileErrors[];
  problem?: string;
}

async function look(reader: RowReader, tensor: WeightTensor, limit: number | undefined, original?: WeightTensor): Promise<Look> {
  const { stored, name } = tensor;
  if (original && `${original.shape}` !== `${tensor.shape}`) {
    return { checked: 'decoded', problem: `${name} has shape [${tensor.shape}], the original [${original.shape}]` };
  }
  const errors: TileErrors[] = [];
  // Codes of other containers are not always the nearest ones: calibration and their tools' own arithmetic move them.
  const stepLimit = stored.form === 'tile' && !stored.tile.packing ? limit : undefined;
  let checked: Look['checked'] = original ? 'compared' : 'decoded';
  const problem = await reader.walk(
    [stored, ...(original ? [original.stored] : [])],
    ({ kernels, from, rows: [rows, source] }) => {
      if (!rows!.decodable) {
        checked = isBlockType(rows!) ? 'undecodable' : 'bytes';
        return rawProblem(kernels, name, rows!, source);
      }
      const values = decoded(kernels, rows!, stored.cols);
      const bad = kernels.call('first_nonfinite', values.byteOffset, values.length);
      if (bad >= 0) return `${name}[${from + Math.floor(bad / stored.cols)}, ${bad % stored.cols}] is ${values[bad]}`;
      const tile = source && compareRows(kernels, { from, cols: stored.cols, stepLimit }, source, rows!);
      if (tile) errors.push(tile);
      return undefined;
    },
  );
  return { checked, ...(problem !== undefined && { problem }), ...(errors.length > 0 && problem === undefined && { errors }) };
}

function isBlockType({ raw }: FetchedRows): boolean {
  return raw !== undefined && storage[raw.type].block > 1;
}

/** Of rows that cannot be decoded: a scale that is not finite, or bytes that are not those of the original. */
function rawProblem(kernels: Kernels, name: string, { raw, count }: FetchedRows, source?: FetchedRows): string | undefined {
  if (!raw) return undefined;
  const length = count * raw.rowBytes;
  if (firstBadScale(kernels, raw.type, raw.at, length) >= 0) return `${name} has a block scale that is not finite`;
  const same = source?.raw?.type === raw.type && source.raw.rowBytes === raw.rowBytes;
  if (same && kernels.call('first_difference', raw.at, source.raw!.at, length) >= 0) return `${name} differs from the original`;
  return undefined;
}

/** Steps by which rounding moves a value at most; undefined where no recipe says that codes are the nearest ones. */
function roundingLimit({ checkpoint }: Model): number | undefined {
  const stored = provenanceOf(checkpoint)?.recipe;
  const recipe = stored && recipeOf(stored);
  if (!recipe || recipe.rounding) return undefined;
  const schemes = [recipe.scheme, ...recipe.rules.map(({ scheme }) => scheme)] as (Scheme | undefined)[];
  const limits = schemes.flatMap((scheme) => (scheme && isWeightScheme(scheme) ? [stepLimit(scheme)] : []));
  return limits.reduce((most, one) => (most === undefined || one === undefined ? undefined : Math.max(most, one)), limits[0]);
}

/** A later version may have written it. */
function recipeOf(stored: object): Recipe | undefined {
  try {
    return parseRecipe(stored);
  } catch {
    return undefined;
  }
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
