/**
 * Levels of static inputs in safetensors: scales, and zero points i8 where the scheme has some. Their shapes follow from the scheme;
 * their values are found by calibration, or come from the file that a model was opened from.
 */
import type { TensorHead } from '../checkpoint/safetensors/index.ts';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.ts';
import { FormatError } from '../errors.ts';
import { read } from '../io/index.ts';
import { floatTypes } from '../numeric/float.ts';
import { type InputScaleType, inputLevels } from '../quantize/activations.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { fromF32, toF32 } from '../tensor/index.ts';
import type { Unplaced } from './folder.ts';
import type { InputField } from './types.ts';

export const scaleTypes: readonly string[] = ['f32', 'f16', 'bf16'] satisfies InputScaleType[];

export interface InputNames {
  scale: string;
  zero: string;
}

/** What a descriptor says of an input: neither how its range was found nor the values, which have entries of their own. */
export function statedInput({ bits, float, symmetric, dynamic, per, threshold }: ActivationScheme): ActivationScheme {
  return { bits, ...(float !== undefined && { float }), symmetric, dynamic, per, ...(threshold !== undefined && { threshold }) };
}

/** The entries of a static input; none of a dynamic one. */
export function inputHeads(
  input: ActivationScheme | undefined,
  width: number,
  names: InputNames,
  type: InputScaleType,
): { key: InputField; head: TensorHead }[] {
  if (!input || input.dynamic) return [];
  const shape = [inputLevels(input, width)];
  const scale = { key: 'scale' as const, head: { name: names.scale, type, shape } };
  return input.symmetric ? [scale] : [scale, { key: 'zero' as const, head: { name: names.zero, type: 'i8' as const, shape } }];
}

/** The dtype for scales that are known already: the wanted one where it holds them as they are, else f32. */
export function exactScaleType({ levels }: ActivationScheme, wanted: InputScaleType): InputScaleType {
  const { round } = floatTypes[wanted];
  return levels?.scale.every((scale) => round(scale) === scale) === false ? 'f32' : wanted;
}

/** Levels that are known already become constants of the layout, and others places that the run fills. */
export function placedInput(
  input: ActivationScheme | undefined,
  heads: ReturnType<typeof inputHeads>,
): Pick<Unplaced, 'constants' | 'input'> {
  if (heads.length === 0) return {};
  const levels = input?.levels;
  if (!levels) return { input: heads };
  return { constants: heads.map(({ key, head }) => ({ head, bytes: inputBytes(levels[key]!, head.type) })) };
}

/** Scales in their dtype, zero points as i8. */
export function inputBytes(values: ArrayLike<number>, type: TensorHead['type']): Uint8Array {
  if (type === 'i8') return new Uint8Array(Int8Array.from(values).buffer);
  return fromF32(type as InputScaleType, Float32Array.from(values));
}

function inputValues(bytes: Uint8Array, type: TensorHead['type']): number[] {
  if (type === 'i8') return [...new Int8Array(bytes.slice().buffer)];
  return [...toF32(type as InputScaleType, bytes)];
}

/** @throws FormatError for scales that are not positive, as where nothing was written, and not finite ones */
export function parseInput(
  parts: Partial<Record<InputField, { bytes: Uint8Array; type: TensorHead['type'] }>>,
  where: string,
): NonNullable<ActivationScheme['levels']> {
  const { scale, zero } = parts;
  const values = inputValues(scale!.bytes, scale!.type);
  const wrong = values.find((value) => !(Number.isFinite(value) && value > 0));
  if (wrong !== undefined)
    throw new FormatError({
      what: 'not a scale of a static input',
      where,
      value: wrong,
      next: 'the file is damaged; make it again',
    });
  return { scale: values, ...(zero && { zero: inputValues(zero.bytes, zero.type) }) };
}

/**
 * A scheme with the levels that a file holds; a dynamic scheme as it is.
 * @param width of the input
 * @throws FormatError where they are missing or do not fit
 */
export async function withLevels(
  checkpoint: Checkpoint,
  input: ActivationScheme,
  width: number,
  names: InputNames,
): Promise<{ input: ActivationScheme; entries: TensorEntry[] }> {
  if (input.dynamic) return { input, entries: [] };
  const count = inputLevels(input, width);
  const entryOf = (name: string, types: readonly string[]): TensorEntry => {
    const entry = checkpoint.tensors.get(name);
    const value = entry ? `${entry.type} [${entry.shape}]` : 'no such tensor';
    if (entry && types.includes(entry.type) && entry.shape.reduce((a, b) => a * b, 1) === count) return entry;
    throw new FormatError({
      what: 'a static input has no scale or zero point that fits its scheme',
      where: `${checkpoint.name}: ${name}`,
      value,
      limit: `${count} values of ${types.join(' or ')}`,
      next: 'the file is damaged; make it again',
    });
  };
  const found = {
    scale: entryOf(names.scale, scaleTypes),
    ...(!input.symmetric && { zero: entryOf(names.zero, ['i8']) }),
  };
  const part = async (entry: TensorEntry) => ({ bytes: await read(entry.source, entry.offset, entry.bytes), type: entry.type });
  const levels = parseInput(
    { scale: await part(found.scale), ...(found.zero && { zero: await part(found.zero) }) },
    `${checkpoint.name}: ${names.scale}`,
  );
  return { input: { ...input, levels }, entries: Object.values(found) };
}
