/**
 * The nodes of a plan that look at activations: capture, solve, propagate. The walk through the layers begins with the first capture
 * that something is missing of: a run that is continued replays the layers before it from what is written, and solves nothing twice.
 */
import { RecipeError } from '../../errors.ts';
import { type Model, open } from '../../format/index.ts';
import type { WeightReader } from '../../graph/index.ts';
import { linearOf } from '../../model/index.ts';
import type { Factor } from '../../quantize/rounding/factor.ts';
import { factorize } from '../../quantize/rounding/factorize.ts';
import type { GptqRounding } from '../../quantize/scheme.ts';
import type { Group, PlanNode } from '../../recipe/nodes.ts';
import type { Journal } from '../journal.ts';
import type { Progress } from '../progress.ts';
import type { RunPlace } from '../publish.ts';
import type { TensorWriter } from '../tensor-writer.ts';
import { weightReader } from '../weights.ts';
import type { TileWorkers } from '../workers.ts';
import { shared } from './shared.ts';
import type { CapturedInput } from './types.ts';
import { type CalibrationWalk, openWalk } from './walk.ts';
import type { CalibrationWindows } from './windows.ts';

/** How the Hessian of one input was solved. */
export interface SolveRecord {
  linears: readonly string[];
  /** Tokens that the statistics saw. */
  tokens: number;
  /** The share of the mean diagonal that was added in the end. */
  damp: number;
  retries: number;
  /** Inputs that are always zero. */
  dead: number;
  /** Why the codes are the nearest ones after all. */
  fallback?: string;
}

export interface CalibrationFacts {
  calibration?: { order: string; samples: number; context: number; tokens: number };
  solves?: SolveRecord[];
}

export interface CalibratedParts {
  place: RunPlace;
  workers: TileWorkers;
  journal: Journal;
  writer: TensorWriter;
  progress: Progress;
  calibration?: CalibrationWindows;
  signal?: AbortSignal;
}

type Calibrated = Extract<PlanNode, { kind: 'capture' | 'solve' | 'propagate' }>;

export class CalibratedSteps {
  readonly #parts: CalibratedParts;
  readonly #solves = new Map<string, SolveRecord>();
  /** From capture to solve. */
  readonly #captured = new Map<Group, CapturedInput>();
  /** Propagations that nothing has asked for yet. */
  readonly #owed: Extract<PlanNode, { kind: 'propagate' }>[] = [];
  #walk: CalibrationWalk | undefined;
  /** The same samples through the unquantized model. */
  #original: CalibrationWalk | undefined;
  #source: WeightReader | undefined;
  #output: { model: Model; weights: WeightReader } | undefined;

  constructor(parts: CalibratedParts) {
    this.#parts = parts;
    for (const record of parts.journal.solves) this.#solves.set(record.linears.join(' '), record);
  }

  async perform(node: Calibrated): Promise<void> {
    if (node.kind === 'capture') await this.#capture(node);
    else if (node.kind === 'solve') await this.#solve(node);
    else this.#owed.push(node);
  }

  /** For the report. */
  facts(): CalibrationFacts {
    const { plan } = this.#parts.place;
    const { calibration } = plan;
    const windows = this.#parts.calibration;
    const solves = [...this.#solves.values()];
    return {
      ...(calibration &&
        windows && {
          calibration: {
            order: calibration.order,
            samples: windows.samples,
            context: windows.context,
            tokens: windows.ids.length,
          },
        }),
      ...(solves.length > 0 && { solves }),
    };
  }

  async close(): Promise<void> {
    await this.#walk?.close();
    await this.#original?.close();
    await this.#source?.close?.();
    await this.#closeOutput();
    this.#walk = this.#original = this.#source = undefined;
  }

  async #capture(node: Extract<PlanNode, { kind: 'capture' }>): Promise<void> {
    const { layer, groups } = node;
    const { writer, signal, progress, place } = this.#parts;
    const missing: Group[] = [];
    for (const group of groups) if (!(await writer.isDone(group.tensors, signal))) missing.push(group);
    if (missing.length === 0) return;
    const walk = await this.#walkOn();
    progress.say(layer === place.plan.model.spec!.layers ? 'inputs of the head' : `inputs of layer ${layer}`);
    const kinds = [...new Set(missing.flatMap((group) => group.kinds))];
    const weights = await this.#weights(node);
    const move = this.#endsLayer(node);
    // Where nothing is compared and nothing changes, one pass is enough to look and to move on.
    const statistics =
      move && place.plan.calibration!.order === 'parallel'
        ? await walk.captureAndAdvance(weights, missing, kinds)
        : await walk.capture(weights, missing, kinds, this.#original && { walk: this.#original, weights: this.#source!, move });
    for (const [i, group] of missing.entries()) this.#captured.set(group, statistics[i]!);
  }

  /** The walk, in front of the layer whose turn it is. */
  async #walkOn(): Promise<CalibrationWalk> {
    const { place, calibration, signal, progress } = this.#parts;
    const { plan, store, folder } = place;
    if (!calibration) {
      throw new RecipeError({
        what: 'this plan collects activations, and the run was given no text',
        next: 'pass calibration windows to run, or plan with statistics',
      });
    }
    this.#source ??= weightReader(plan.model);
    const source = this.#source;
    const openAt = (name: string) =>
      openWalk(plan.model.spec!, source, calibration.ids, {
        samples: calibration.samples,
        context: calibration.context,
        spill: { store, folder: `${folder}/${name}` },
        ...(signal && { signal }),
      });
    this.#walk ??= await openAt('activations');
    const walk = this.#walk;
    if (this.#corrects) this.#original ??= await openAt('original');
    for (const node of this.#owed.splice(0)) {
      signal?.throwIfAborted();
      progress.say(`through layer ${node.layer}`);
      if (this.#original?.layer === node.layer) await this.#original.advance(source);
      if (walk.layer === node.layer) await walk.advance(node.weights === 'output' ? await this.#written() : source);
    }
    return walk;
  }

  /** Whether the layer is passed after this capture and captured no more. */
  #endsLayer(node: PlanNode & { kind: 'capture' }): boolean {
    const { nodes } = this.#parts.place.plan;
    const next = nodes.slice(nodes.indexOf(node) + 1).find(({ kind }) => kind === 'capture' || kind === 'propagate');
    return next?.kind === 'propagate';
  }

  /** Where the inputs of a layer are those of quantized layers, they are compared with those of the unquantized ones. */
  get #corrects(): boolean {
    const { calibration } = this.#parts.place.plan;
    return calibration?.correct === true && calibration.order !== 'parallel';
  }

  /** In sequential order the linears of a layer that are written already are taken as they were written. */
  async #weights(node: PlanNode & { kind: 'capture' }): Promise<WeightReader> {
    const { plan } = this.#parts.place;
    const source = this.#source!;
    if (plan.calibration?.order !== 'sequential') return source;
    const before = plan.nodes.slice(0, plan.nodes.indexOf(node));
    const solved = before.flatMap((one) => (one.kind === 'solve' && one.layer === node.layer ? one.group.linears : []));
    if (solved.length === 0) return source;
    const weights = await this.#written();
    return (name) => (solved.includes(linearOf(name)) ? weights(name) : source(name));
  }

  /**
   * The unfinished output as a model: headers are written first, so that it can be opened while its tensors are being filled. It is
   * opened anew each time, because a container may say how a tensor is read where the tensor lies.
   */
  async #written(): Promise<WeightReader> {
    const { plan, store, files } = this.#parts.place;
    await this.#closeOutput();
    const name = plan.output.kind === 'folder' ? files : `${files}/${plan.layout.files[0]!.name}`;
    const model = await open({ store, name });
    const weights = weightReader(model);
    this.#output = { model, weights };
    return weights;
  }

  async #closeOutput(): Promise<void> {
    await this.#output?.weights.close?.();
    await this.#output?.model.close();
    this.#output = undefined;
  }

  async #solve({ group }: Extract<PlanNode, { kind: 'solve' }>): Promise<void> {
    const { writer, place, signal, journal, progress } = this.#parts;
    const { plan } = place;
    if (await writer.isDone(group.tensors, signal)) return;
    progress.say(`solving ${group.linears.join(', ')}`);
    const statistics = this.#captured.get(group) ?? (await this.#stored(group));
    this.#captured.delete(group);
    const factors = new Map<string, Solved | undefined>();
    for (const index of group.tensors) {
      const { scheme, source } = plan.layout.tensors[index]!;
      const rounding = scheme.kind === 'keep' ? undefined : scheme.rounding;
      const { hessian } = statistics;
      const meansquare = statistics.meansquare ?? (hessian && diagonal(hessian));
      if (!rounding || !hessian) {
        writer.inputs.set(index, { ...(meansquare && { meansquare }), ...(hessian && { hessian: copied(hessian) }) });
        continue;
      }
      const key = `${rounding.damp} ${rounding.order}`;
      if (!factors.has(key)) factors.set(key, await this.#factor(group, statistics, hessian, rounding));
      const solved = factors.get(key);
      const drift = solved && statistics.drift;
      writer.inputs.set(index, { ...(meansquare && { meansquare }), ...solved, ...(drift && { drift }) });
      if (!solved) progress.say(`${source}: rounded to nearest`);
    }
    const record = this.#solves.get(group.linears.join(' '));
    if (record) await journal.add(record);
  }

  async #factor(
    group: Group,
    { tokens }: CapturedInput,
    hessian: Float32Array,
    rounding: GptqRounding,
  ): Promise<Solved | undefined> {
    const { workers } = this.#parts;
    const { damp, order } = rounding;
    const name = group.linears[0]!;
    const solved = await factorize(hessian, { damp, order, name }, workers.task, workers.size);
    const { linears } = group;
    const failed = 'fallback' in solved;
    this.#solves.set(linears.join(' '), {
      linears,
      tokens,
      damp: solved.damp,
      retries: solved.retries,
      dead: failed ? 0 : solved.dead.reduce((sum, one) => sum + one, 0),
      ...(failed && { fallback: solved.fallback }),
    });
    return failed ? undefined : { factor: solved, hessian: damped(hessian, solved) };
  }

  async #stored(group: Group): Promise<CapturedInput> {
    const reader = this.#parts.place.plan.statistics!;
    const linear = group.linears[0]!;
    const statistics: CapturedInput = { tokens: reader.tokens(linear) };
    for (const kind of group.kinds) statistics[kind] = await reader.read(linear, kind);
    if (!group.kinds.includes('meansquare') && reader.has(linear, 'meansquare'))
      statistics.meansquare = await reader.read(linear, 'meansquare');
    return statistics;
  }
}

interface Solved {
  factor: Factor;
  hessian: Float32Array;
}

/** A copy with the damp that the factor has, in memory that workers get without a copy where there is such. */
function damped(hessian: Float32Array, { cols, dead, damp }: Factor): Float32Array {
  const copy = copied(hessian);
  let trace = 0;
  for (let i = 0; i < cols; i++) trace += dead[i] ? 1 : hessian[i * (cols + 1)]!;
  for (let i = 0; i < cols; i++) copy[i * (cols + 1)] = (dead[i] ? 1 : hessian[i * (cols + 1)]!) + (damp * trace) / cols;
  return copy;
}

function copied(hessian: Float32Array): Float32Array {
  const copy = shared(hessian.length);
  copy.set(hessian);
  return copy;
}

/** The mean square of each input. */
function diagonal(hessian: Float32Array): Float32Array {
  const n = Math.sqrt(hessian.length);
  return Float32Array.from({ length: n }, (_, i) => hessian[i * n + i]!);
}
