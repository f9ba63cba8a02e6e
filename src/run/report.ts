import type { Plan } from '../recipe/plan.ts';
import { errorOfStats, type TensorError, type TileStats } from './tile-stats.ts';

export interface TensorReport extends TensorError {
  /** Name in the output. */
  name: string;
  /** Canonical name. */
  source: string;
  scheme: string;
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
  tensors: TensorReport[];
}

export interface RunFacts {
  output: string;
  seconds: number;
  peakMemory: number;
  verified: boolean;
  resumed: number;
  /** By tensor of the layout. */
  stats: readonly TileStats[];
}

export function buildReport(plan: Plan, { stats, ...facts }: RunFacts): Report {
  return {
    ...facts,
    container: plan.container,
    bytes: plan.bytes,
    bitsPerWeight: plan.bitsPerWeight,
    parameters: plan.parameters,
    warnings: plan.warnings,
    runtimes: plan.runtimes,
    recipe: plan.recipe,
    tensors: plan.tensors.map(({ name, source, scheme, bytes }, i) => ({
      name,
      source,
      scheme,
      bytes,
      ...errorOfStats(stats[i]!),
    })),
  };
}

/** The tensors that lost most, worst first. */
export function worstTensors(report: Pick<Report, 'tensors'>, count = 10): TensorReport[] {
  return report.tensors
    .filter((tensor) => tensor.sqnr !== null)
    .sort((a, b) => a.sqnr! - b.sqnr!)
    .slice(0, count);
}
