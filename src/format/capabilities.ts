/** What a container can say of a scheme besides its grid: one table each, so that nothing that a scheme asks for is left out silently. */
import type { WeightScheme } from '../quantize/scheme.ts';
import type { ActivationScheme } from '../quantized/types.ts';

/** How inputs may be quantized at run time. */
export interface InputCapabilities {
  readonly bits: readonly number[];
  /** Small floats in place of integers. */
  readonly float: boolean;
  /** Columns of outliers that stay as they are. */
  readonly threshold: boolean;
  /** Scales that come from the values themselves, and scales that are known before the model runs. */
  readonly dynamic: SharingCapabilities;
  readonly static?: SharingCapabilities;
}

export interface SharingCapabilities {
  readonly per: readonly ('tensor' | 'token' | 'channel' | 'group')[];
  readonly asymmetric: boolean;
}

export interface Capabilities {
  /** Left out: it says nothing of inputs. */
  readonly input?: InputCapabilities;
  /** Outliers, columns and corrections beside the codes. */
  readonly split: boolean;
  /** A factor for each column. */
  readonly balance: boolean;
  /** Scales that are codes under a float. */
  readonly nested: boolean;
}

export const everything: Capabilities = {
  input: {
    ...{ bits: [2, 3, 4, 5, 6, 7, 8], float: true, threshold: true },
    dynamic: { per: ['tensor', 'token', 'group'], asymmetric: true },
    static: { per: ['tensor', 'channel', 'group'], asymmetric: true },
  },
  ...{ split: true, balance: true, nested: true },
};

/** Codes under scales, and nothing else. */
export const gridsOnly: Capabilities = { split: false, balance: false, nested: false };

/** What a scheme asks for beside its grid and a container with these capabilities cannot say; undefined where there is no such thing. */
export function unsaid(scheme: WeightScheme, can: Capabilities): string | undefined {
  if (scheme.split && !can.split) return 'it has no place for what is kept apart from the codes (split)';
  if (scheme.balance && !can.balance) return 'it has no factors of columns (balance)';
  if ('nested' in scheme && scheme.nested && !can.nested) return 'its scales are floats, not codes under a float (nested)';
  return scheme.input && unsaidInput(scheme.input, can.input);
}

/** The same of an input alone. */
export function unsaidInput(input: ActivationScheme, can: InputCapabilities | undefined): string | undefined {
  if (!can) return 'it does not say how activations are quantized';
  const { bits, per, symmetric, float, threshold, dynamic } = input;
  const sharing = typeof per === 'object' ? 'group' : per;
  if (float !== undefined && !can.float) return `its activations are integers, not ${float} (input.float)`;
  if (threshold !== undefined && !can.threshold)
    return 'it cannot say from which value on columns of an input stay as they are (input.threshold)';
  if (!can.bits.includes(bits)) return `its activations have ${can.bits.join(' or ')} bits (input.bits)`;
  const known = dynamic ? can.dynamic : can.static;
  if (!known) return 'its activations are dynamic (input.dynamic)';
  const kind = dynamic ? 'dynamic' : 'static';
  if (!known.per.includes(sharing)) return `its ${kind} activations share scales by ${known.per.join(' or ')} (input.per)`;
  return symmetric || known.asymmetric ? undefined : `its ${kind} activations are symmetric (input.symmetric)`;
}
