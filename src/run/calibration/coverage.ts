/** What a calibration text reaches: how much of the model the statistics speak for. */
import type { InputGroup, ModelSpec } from '../../model/index.ts';
import type { Statistics } from '../../quantize/statistics.ts';
import type { CalibrationWindows } from './windows.ts';

export interface InputCoverage {
  /** Linears that read this input. */
  linears: readonly string[];
  width: number;
  tokens: number;
  /** Columns that were zero for every token. */
  dead: number;
}

export interface Coverage {
  /** Tokens of all windows. */
  tokens: number;
  samples: number;
  context: number;
  /** Different tokens seen, of how many. */
  vocabulary: { seen: number; size: number };
  inputs: InputCoverage[];
  warnings: string[];
}

/** @param statistics with `absmax` */
export function inputCoverage({ linears, width }: InputGroup, { tokens, absmax }: Statistics): InputCoverage {
  return { linears, width, tokens, dead: absmax!.reduce((count, value) => count + (value === 0 ? 1 : 0), 0) };
}

export function coverage(
  { vocab }: ModelSpec,
  { ids, samples, context, warnings }: CalibrationWindows,
  inputs: InputCoverage[],
): Coverage {
  return {
    tokens: ids.length,
    samples,
    context,
    vocabulary: { seen: new Set(ids).size, size: vocab },
    inputs,
    warnings: [...warnings, ...inputs.flatMap(warningsOf)],
  };
}

function warningsOf({ linears, width, tokens, dead }: InputCoverage): string[] {
  const name = linears[0]!;
  return [
    ...(tokens < width
      ? [`${name}: ${tokens} tokens are fewer than its ${width} inputs, so that its Hessian is rank-deficient; use more samples`]
      : []),
    ...(dead > 0 ? [`${name}: ${dead} of ${width} inputs were zero for every token`] : []),
  ];
}
