import { type TensorError, type TileErrors, tensorError } from '../evaluate/tensor-report.ts';
import { linearOf } from '../model/index.ts';
import type { Plan, PlannedTensor } from '../recipe/plan.ts';
import type { SolveRecord } from './calibration/solver.ts';
import type { CalibrationFacts } from './calibration/steps.ts';
import type { RangeRecord } from './ranges/search.ts';
import type { TransformRecord } from './rewrite/rewrite.ts';

/** The errors are there when the output was read back; sqnr is null in JSON where nothing is lost. */
export interface TensorReport extends Partial<TensorError> {
  /** Name in the output. */
  name: string;
  /** Canonical name. */
  source: string;
  scheme: string;
  /** How its codes were chosen; left out: the nearest ones. */
  feedback?: NonNullable<PlannedTensor['feedback']>;
  bytes: number;
}

/** What a run did: OUT.report.json beside a file, report.json in a folder. */
export interface Report {
  output: string;
  container: string;
  bytes: number;
  bitsPerWeight: number;
  parameters: number;
  seconds: number;
  peakMemory: number;
  verified: boolean;
  /** Tiles taken over from an earlier run that was interrupted. */
  resumed: number;
  warnings: readonly string[];
  runtimes: readonly string[];
  recipe: unknown;
  /** The text that activations were collected on. */
  calibration?: CalibrationFacts['calibration'];
  /** What the transforms did. */
  transforms?: readonly TransformRecord[];
  /** The file that told of the inputs instead. */
  statistics?: CalibrationFacts['statistics'];
  /** How the Hessian of each input was solved. */
  solves?: CalibrationFacts['solves'];
  /** Ranges by the loss of the model. */
  ranges?: readonly RangeRecord[];
  /** Scales of static inputs. */
  inputs?: CalibrationFacts['inputs'];
  tensors: TensorReport[];
}

export interface RunFacts extends CalibrationFacts {
  output: string;
  seconds: number;
  peakMemory: number;
  verified: boolean;
  resumed: number;
  transforms?: readonly TransformRecord[];
  ranges?: readonly RangeRecord[];
  /** Of the text. */
  calibrationWarnings: readonly string[];
  /** Tiles by tensor of the layout; empty where nothing was read back. */
  errors: readonly (readonly TileErrors[])[];
}

export function buildReport(plan: Plan, { errors, calibrationWarnings, ...facts }: RunFacts): Report {
  const fallen = new Set(facts.solves?.flatMap(({ linears, fallback }) => (fallback === undefined ? [] : linears)));
  return {
    ...facts,
    container: plan.container,
    bytes: plan.bytes,
    bitsPerWeight: plan.bitsPerWeight,
    parameters: plan.parameters,
    warnings: [...plan.warnings, ...calibrationWarnings, ...solveWarnings(facts.solves ?? [])],
    runtimes: plan.runtimes,
    recipe: plan.recipe,
    tensors: plan.tensors.map(({ name, source, scheme, feedback, bytes }, i) => ({
      ...(errors[i]!.length > 0 && tensorError(name, plan.layout.tensors[i]!.from.rows, errors[i]!)),
      name,
      source,
      scheme,
      ...(feedback && !fallen.has(linearOf(source)) && { feedback }),
      bytes,
    })),
  };
}

/** What had to be rounded to nearest although feedback was asked for, and what too little text speaks for. */
function solveWarnings(solves: readonly SolveRecord[]): string[] {
  return solves.flatMap(({ linears, fallback, tokens, width }) => [
    ...(fallback === undefined ? [] : linears.map((linear) => `${linear}.weight: rounded to nearest: ${fallback}`)),
    ...(tokens !== undefined && tokens < width
      ? [
          `${linears[0]}: ${tokens} tokens are fewer than its ${width} inputs, so that its Hessian is rank-deficient; use more samples`,
        ]
      : []),
  ]);
}
