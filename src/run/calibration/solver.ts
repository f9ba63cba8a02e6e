/** From the statistics of an input to what the tiles of the matrices that read it need. */
import type { Layout } from '../../format/types.ts';
import { kindOf } from '../../quantize/kinds/registry.ts';
import type { Factor } from '../../quantize/rounding/factor.ts';
import { type FactorFailure, factorize } from '../../quantize/rounding/factorize.ts';
import { type GptqRounding, isWeightScheme, type Scheme } from '../../quantize/scheme.ts';
import type { Group } from '../../recipe/nodes.ts';
import { storage } from '../../tensor/storage.ts';
import { diagonal } from '../importance.ts';
import type { Journal } from '../journal.ts';
import type { TensorWriter } from '../tensor-writer.ts';
import type { TileWorkers } from '../workers.ts';
import { shared } from './shared.ts';
import type { CapturedInput } from './types.ts';

/** How the Hessian of one input was solved. */
export interface SolveRecord {
  linears: readonly string[];
  /** Of the input. */
  width: number;
  /** Tokens that the statistics saw, where they tell. */
  tokens?: number;
  /** The share of the mean diagonal that was added in the end. */
  damp: number;
  retries: number;
  /** Inputs that are always zero. */
  dead: number;
  /** Why the codes are the nearest ones after all. */
  fallback?: string;
}

export interface SolverParts {
  layout: Layout;
  workers: TileWorkers;
  journal: Journal;
  writer: TensorWriter;
}

interface Solved {
  factor: Factor;
  hessian: Float32Array;
}

export class Solver {
  readonly #parts: SolverParts;
  readonly #records = new Map<string, SolveRecord>();

  constructor(parts: SolverParts) {
    this.#parts = parts;
    for (const record of parts.journal.solves) this.#records.set(keyOf(record), record);
  }

  /** Also those of an earlier run. */
  get records(): SolveRecord[] {
    return [...this.#records.values()];
  }

  /** Gives the writer what it needs for the tensors of the group. */
  async solve(group: Group, { hessian, drift, tokens, absmax, ...captured }: CapturedInput): Promise<void> {
    const { layout, journal, writer } = this.#parts;
    const meansquare = captured.meansquare ?? (hessian && diagonal(hessian));
    const factors = new Map<string, Solved | undefined>();
    for (const index of group.tensors) {
      const { scheme } = layout.tensors[index]!;
      const rounding = scheme.kind === 'keep' ? undefined : scheme.rounding;
      let solved: Partial<Solved> | undefined = hessian && !rounding ? { hessian: copied(hessian) } : undefined;
      if (rounding && hessian) {
        // Only the order by groups looks at their size.
        const run = rounding.order === 'groups' ? runOf(scheme) : 1;
        const key = `${rounding.damp} ${rounding.order} ${run}`;
        if (!factors.has(key)) factors.set(key, await this.#factor(group, tokens, hessian, rounding, run));
        solved = factors.get(key);
      }
      writer.inputs.set(index, {
        ...(meansquare && { meansquare }),
        ...(absmax && { absmax }),
        ...solved,
        ...(solved?.factor && drift && { drift }),
      });
    }
    const record = this.#records.get(keyOf(group));
    if (record) await journal.add(record);
  }

  async #factor(
    group: Group,
    tokens: number,
    hessian: Float32Array,
    { damp, order }: GptqRounding,
    run: number,
  ): Promise<Solved | undefined> {
    const { workers } = this.#parts;
    const { linears } = group;
    const solved = await factorize(hessian, { damp, order, group: run, name: linears[0]! }, workers.task, workers.size);
    const outcome = 'fallback' in solved ? solved : unseen(solved);
    const dead = 'dead' in solved ? solved.dead.reduce((sum, one) => sum + one, 0) : 0;
    this.#records.set(keyOf(group), {
      linears,
      width: group.width,
      ...(tokens >= 0 && { tokens }),
      damp: outcome.damp,
      retries: outcome.retries,
      dead,
      ...('fallback' in outcome && { fallback: outcome.fallback }),
    });
    return 'fallback' in outcome ? undefined : { factor: outcome, hessian: damped(hessian, outcome) };
  }
}

function keyOf({ linears }: Pick<SolveRecord, 'linears'>): string {
  return linears.join(' ');
}

/** Columns of a group. */
function runOf(scheme: Scheme): number {
  if (isWeightScheme(scheme)) return kindOf(scheme).run(scheme);
  return scheme.kind === 'storage' ? storage[scheme.type].block : 1;
}

/** Weights whose input no token reached would all become zero. */
function unseen(factor: Factor): Factor | FactorFailure {
  const { dead, damp, retries } = factor;
  return dead.every((one) => one === 1) ? { fallback: 'its input is zero for every token', damp, retries } : factor;
}

/**
 * A copy for refinement: with the damp that the factor needed, as a share of the mean diagonal. Inputs that are always zero get
 * none: refinement then leaves their codes alone, and the 1 that the factor has there does not drown the others.
 */
export function damped(hessian: Float32Array, { cols, dead, damp }: Factor): Float32Array {
  const copy = copied(hessian);
  const added = (damp * diagonal(hessian).reduce((sum, h) => sum + h, 0)) / cols;
  for (let i = 0; i < cols; i++) if (!dead[i]) copy[i * (cols + 1)]! += added;
  return copy;
}

/** In memory that workers get without a copy, where there is such. */
function copied(hessian: Float32Array): Float32Array {
  const copy = shared(hessian.length);
  copy.set(hessian);
  return copy;
}
