/** The tensors that a spec demands, and how the tensors of a file answer. */
import { ModelError } from '../errors.ts';
import type { TensorRow } from './architecture.ts';
import { architectureOf } from './architectures/index.ts';
import type { Shapes } from './read-gguf.ts';
import type { ModelSpec, ModelTensor } from './types.ts';

/** All tensors of a model, in canonical order: embedding, layer by layer, final norm, output. */
export function modelTensors(spec: ModelSpec): ModelTensor[] {
  const { tensors, gguf } = architectureOf(spec.architecture);
  const make = (row: TensorRow, layer?: number): ModelTensor => ({
    name: numbered(row.name, layer),
    gguf: numbered(row.gguf, layer),
    role: row.role,
    ...(layer === undefined ? {} : { layer }),
    shape: row.shape(spec),
    ...(row.heads && gguf.permuted ? { permute: row.heads(spec) } : {}),
  });
  const present = (rows: readonly TensorRow[]) => rows.filter((row) => row.when?.(spec) ?? true);
  const layers = Array.from({ length: spec.layers }, (_, i) => present(tensors.layer).map((row) => make(row, i)));
  return [
    ...present(tensors.before).map((row) => make(row)),
    ...layers.flat(),
    ...present(tensors.after).map((row) => make(row)),
  ];
}

/** A pattern of the architecture table with its layer filled in. */
export function numbered(pattern: string, layer: number | undefined): string {
  return layer === undefined ? pattern : pattern.replace('{}', `${layer}`);
}

export interface Match {
  /** Canonical name -> name in the file, for each tensor of the spec. */
  readonly found: ReadonlyMap<string, string>;
  /** Tensors of the file that the model does not use, by their name in the file. */
  readonly unused: readonly string[];
}

/** Buffers that older exports carry and that follow from the configuration. */
const derived = [/(^|\.)rotary_emb\.inv_freq$/, /(^|\.)attn\.(masked_)?bias$/, /^rope_freqs\.weight$/];

/**
 * Compares a spec with the tensors of a file. Hugging Face names are found with and without the prefix `model.`.
 * @param naming which names the file uses.
 * @throws ModelError listing the first tensors that are missing, of another shape, or not part of such a model.
 */
export function matchTensors(spec: ModelSpec, available: Shapes, naming: 'huggingface' | 'gguf' = 'huggingface'): Match {
  const found = new Map<string, string>();
  const problems: string[] = [];
  const taken = new Set<string>();
  for (const tensor of modelTensors(spec)) {
    const name = candidates(tensor, naming).find((candidate) => available.has(candidate));
    if (name === undefined) {
      problems.push(`${candidates(tensor, naming)[0]} is missing, expected [${tensor.shape}]`);
      continue;
    }
    const { shape } = available.get(name)!;
    if (`${shape}` !== `${tensor.shape}`) problems.push(`${name} has shape [${shape}], expected [${tensor.shape}]`);
    found.set(tensor.name, name);
    taken.add(name);
  }
  const rest = [...available.keys()].filter((name) => !taken.has(name));
  const ignored = (name: string) => derived.some((pattern) => pattern.test(name)) || (spec.tied && name === 'lm_head.weight');
  for (const name of rest) if (!ignored(name)) problems.push(`${name} is not part of such a model`);
  if (problems.length > 0) throw mismatch(spec, problems);
  return { found, unused: rest };
}

function candidates({ name, gguf }: ModelTensor, naming: 'huggingface' | 'gguf'): string[] {
  if (naming === 'gguf') return [gguf];
  return name.startsWith('model.') ? [name, name.slice('model.'.length)] : [name];
}

function mismatch({ architecture, layers }: ModelSpec, problems: readonly string[]): ModelError {
  const shown = 3;
  const more = problems.length > shown ? ` and ${problems.length - shown} more` : '';
  return new ModelError({
    what: `the configuration (${architecture}, ${layers} layers) does not match the tensors: ${problems.slice(0, shown).join('; ')}${more}`,
    next: 'check that the configuration belongs to this checkpoint',
  });
}
