import type { ContainerName } from '../../format/types.ts';
import type { Granularity, RangeName, Rounding, WeightScheme } from '../../quantize/scheme.ts';
import type { RecipeInput } from '../schema.ts';

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
  readonly takes: readonly ('group' | 'symmetric' | 'range' | 'doubleQuant' | 'alpha' | 'type')[];
  scheme(options: MethodOptions): WeightScheme;
  /** Whether it is symmetric where no option says. */
  readonly symmetric?: boolean;
  /** Integer grids: the range is searched from the formula of the container. */
  readonly searches?: 'mse';
  /** Which code a weight gets, whatever the grid: also for the types of GGUF. */
  readonly rounding?: Rounding;
  /** Rewrites that come first. */
  transforms?(options: MethodOptions): RecipeInput['transforms'];
  /** Of inputs, token by token, where no option says. */
  readonly activationBits?: number;
}

export function granularityOf(group: number): Granularity {
  return group === -1 ? 'channel' : { group };
}
