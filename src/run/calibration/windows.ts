/** Which tokens a model is calibrated on. */
import { RecipeError } from '../../errors.ts';
import { tokenize } from '../../evaluate/windows.ts';
import type { ModelSpec } from '../../model/index.ts';
import { Random } from '../../numeric/index.ts';
import type { Tokenizer } from '../../tokenizer/index.ts';
import { type ChatTemplate, renderedChats } from './chat.ts';
import { documentsOf } from './documents.ts';

export interface CalibrationWindows {
  /** [samples, context] */
  ids: Int32Array;
  samples: number;
  context: number;
  /** Of the text. */
  name?: string;
  warnings: readonly string[];
}

export interface CalibrationOptions {
  /** Windows; by default 128, or as many as the text has. */
  samples?: number;
  /** Tokens in a window. */
  context: number;
  /** Of the text, for reports. */
  name?: string;
  /** The text is conversations, rendered by it. */
  chatTemplate?: ChatTemplate;
  /** Windows begin at random places; by default they follow each other from the beginning. */
  seed?: number;
}

const defaultSamples = 128;

/**
 * Tokenizes the text (of JSON lines each document) once, without BOS, and takes windows of `context` tokens.
 * @throws RecipeError when the text is too short or the context does not fit the model
 */
export function calibrationWindows(
  spec: ModelSpec,
  tokenizer: Tokenizer,
  text: string,
  { samples: wanted, context, name, chatTemplate, seed }: CalibrationOptions,
): CalibrationWindows {
  checkContext(spec, context);
  const { tokens, warnings: said } = calibrationTokens(spec, tokenizer, text, chatTemplate);
  const held = Math.floor(tokens.length / context);
  // Windows at random places may overlap, so that one window's length of text is enough for any number.
  const possible = held > 0 && seed !== undefined ? Number.POSITIVE_INFINITY : held;
  const samples = wanted ?? Math.min(defaultSamples, possible);
  if (tokens.length === 0)
    throw new RecipeError({ what: 'the calibration text is empty', next: `give one of at least ${context} tokens` });
  if (possible === 0 || samples > possible)
    throw new RecipeError({
      what: `the calibration text is too short: it has ${tokens.length} tokens, ${heldText(held, context, wanted)}`,
      next:
        held > 0
          ? `use a longer text or at most ${held} samples`
          : `use a longer text${tokens.length > 1 ? ` or a context of at most ${tokens.length}` : ''}`,
    });
  const random = seed === undefined ? undefined : new Random(seed);
  const ids = new Int32Array(samples * context);
  for (let k = 0; k < samples; k++) {
    const from = random ? random.integer(tokens.length - context + 1) : k * context;
    ids.set(tokens.subarray(from, from + context), k * context);
  }
  const short = wanted === undefined && samples < defaultSamples;
  const few = `the calibration text has only ${samples} windows of ${context} tokens, ${defaultSamples} are usual`;
  const warnings = [...said, ...(short ? [few] : [])];
  return { ids, samples, context, ...(name !== undefined && { name }), warnings };
}

function heldText(held: number, context: number, wanted: number | undefined): string {
  if (held === 0) return `less than one window of ${context}`;
  return `that is ${held} windows of ${context}${wanted === undefined ? '' : `, and ${wanted} are wanted`}`;
}

/** The ids of a whole text, or of its documents or conversations one after another, without BOS. */
export function calibrationTokens(
  spec: ModelSpec,
  tokenizer: Tokenizer,
  text: string,
  chatTemplate?: ChatTemplate,
): { tokens: Int32Array; warnings: readonly string[] } {
  const { parts, warnings } = chatTemplate ? { parts: renderedChats(text, chatTemplate), warnings: [] } : documentsOf(text);
  return { tokens: concatenated(parts.map((part) => tokenize(spec, tokenizer, part))), warnings };
}

function checkContext({ context: limit, rope }: ModelSpec, context: number): void {
  if (!Number.isInteger(context) || context < 1)
    throw new RecipeError({ what: 'a context is a whole number of at least 1', value: context });
  // Dynamic scaling stretches the rotary embedding with the text: such a model has no fixed limit.
  if (context > limit && rope.scaling.kind !== 'dynamic')
    throw new RecipeError({ what: 'the context is longer than the model allows', value: context, limit });
}

function concatenated(parts: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
