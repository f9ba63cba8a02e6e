/** One text for both measurements: its beginning for statistics of inputs, its end for KL. */
import type { ModelSpec } from '../../model/index.ts';
import type { Tokenizer } from '../../tokenizer/index.ts';
import {
  type CalibrationOptions,
  type CalibrationWindows,
  calibrationTokens,
  calibrationWindows,
} from '../calibration/windows.ts';

export interface SensitivityWindows {
  statistics: CalibrationWindows;
  /** ids [windows, context] that the statistics do not see, where the text has more than one window. */
  probes: { ids: Int32Array; context: number };
}

/** Tokens on which KL is measured: each probe passes them all through the model. */
const PROBE_TOKENS = 2048;
/** Share of the text that is left to the probes where it is short. */
const PROBE_SHARE = 1 / 8;
/** Of the logits of one window. */
const LOGIT_BYTES = 256e6;

/**
 * Windows of `context` tokens.
 * @throws RecipeError when the text is shorter than one window or the context does not fit the model
 */
export function sensitivityWindows(
  spec: ModelSpec,
  tokenizer: Tokenizer,
  text: string,
  options: CalibrationOptions,
): SensitivityWindows {
  const { tokens } = calibrationTokens(spec, tokenizer, text, options.chatTemplate);
  const held = Math.floor(tokens.length / options.context);
  const length = Math.max(2, Math.min(options.context, Math.floor(LOGIT_BYTES / (4 * spec.vocab))));
  const most = Math.max(1, Math.floor(PROBE_TOKENS / length));
  const left = held > 1 ? Math.max(1, Math.floor(held * PROBE_SHARE)) * Math.floor(options.context / length) : 1;
  const count = Math.min(most, left);
  const spent = Math.ceil((count * length) / options.context);
  const states = Math.floor(STATE_BYTES / (4 * options.context * spec.hidden));
  const samples = options.samples ?? Math.max(1, Math.min(DEFAULT_SAMPLES, states, held - spent));
  const statistics = calibrationWindows(spec, tokenizer, text, { ...options, samples });
  return { statistics, probes: { ids: tokens.slice(tokens.length - count * length), context: length } };
}

const DEFAULT_SAMPLES = 128;
/** Of the hidden states of all windows. */
const STATE_BYTES = 256e6;
