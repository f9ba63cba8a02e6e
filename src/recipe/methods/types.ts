import type { ContainerName } from '../../format/types.ts';
import type { Encoder } from '../../kernels/index.ts';
import type { Granularity, RangeName, Rounding, WeightScheme } from '../../quantize/scheme.ts';
import type { ActivationScheme } from '../../quantized/types.ts';
import type { StorageType } from '../../tensor/storage.ts';
import type { Calibration, RecipeInput } from '../schema.ts';

/** What options of the command line say to a method. */
export interface MethodOptions {
  bits: number;
  /** Consecutive inputs that share a scale; -1 = the whole row. */
  group: number;
  symmetric: boolean;
  /** Of integer grids by name; other grids know 'absmax' and searches. */
  range?: RangeName | 'absmax';
  doubleQuant: boolean;
  /** SmoothQuant: how much of the difficulty moves from inputs to weights. */
  alpha: number;
  /** LLM.int8(): columns of inputs in which a value reaches it stay as they are. */
  threshold: number;
  /** Of the linears' inputs, where they are quantized. */
  activationBits?: number;
  /** Keys and values are quantized too. */
  kv: boolean;
  /** The output has no place for factors of columns. */
  folded: boolean;
}

/** A ggml type whose levels are those of a method. Its own encoder may take other ones: search fits them to the error. */
export interface GgufType {
  type: StorageType;
  encoder: Encoder;
}

export interface GgufRefusal {
  what: string;
  value?: string | number;
  next: string;
}

/** A method is a recipe fragment under a name. A new one is a file of this folder and a row of registry.ts. */
export interface Method {
  /** One line for help and tables. */
  readonly description: string;
  readonly source: string;
  /** The container that people expect its output in. */
  readonly container: ContainerName;
  /** Bits that it has, the one taken without --bits first. */
  readonly bits: readonly number[];
  /** Taken without --group. */
  readonly group: number;
  /** Options that change it, besides bits: the others are refused. */
  readonly takes: readonly ('group' | 'symmetric' | 'range' | 'doubleQuant' | 'alpha' | 'threshold' | 'type')[];
  /** Absent where weights stay as they are. */
  scheme?(options: MethodOptions): WeightScheme;
  /** Which type of GGUF means the same values, or why none does and which comes nearest. */
  ggufType?(options: MethodOptions): GgufType | GgufRefusal;
  /** Whether it is symmetric where no option says. */
  readonly symmetric?: boolean;
  /** Range and zero of its integers are part of it: a container's custom does not take their place. */
  readonly ownRange?: true;
  /** Integer grids: the range is searched from the formula of the container. */
  readonly searches?: 'mse';
  /** Which code a weight gets, whatever the grid: also for the types of GGUF. */
  readonly rounding?: Rounding;
  /** Where a calibration text is given: how its layers then learn the outputs of the model as it was. */
  readonly withText?: { rounding: Rounding; order: Calibration['order'] };
  /** Rewrites that come first. */
  transforms?(options: MethodOptions): RecipeInput['transforms'];
  /** Of inputs, token by token, where no option says. */
  readonly activationBits?: number;
  /** How inputs are quantized besides that. */
  input?(options: MethodOptions): Pick<ActivationScheme, 'threshold'>;
  /** Keys and values, where no option says. */
  readonly kvBits?: '8' | '4' | '2' | 'fp8';
}

export function granularityOf(group: number): Granularity {
  return group === -1 ? 'channel' : { group };
}
