/**
 * The nodes of a plan that look at activations: capture, solve, propagate. The walk through the layers begins with the first capture
 * that something is missing of: a run that is continued replays the layers before it from what is written, and solves nothing twice.
 */
import { RecipeError } from '../../errors.ts';
import { type Model, open } from '../../format/index.ts';
import type { WeightReader } from '../../graph/index.ts';
import { linearOf } from '../../model/index.ts';
import type { StatisticsProvenance } from '../../quantize/statistics.ts';
import { needsOf } from '../../recipe/needs.ts';
import type { Group, PlanNode } from '../../recipe/nodes.ts';
import type { Journal } from '../journal.ts';
import type { Progress } from '../progress.ts';
import type { RunPlace } from '../publish.ts';
import { idsHash } from '../statistics/provenance.ts';
import type { TensorWriter } from '../tensor-writer.ts';
import { weightReader } from '../weights.ts';
import type { TileWorkers } from '../workers.ts';
import { type SolveRecord, Solver } from './solver.ts';
import { type InputRecord, StaticInputs } from './static-inputs.ts';
import type { CapturedInput, LayerWalk } from './types.ts';
import { openWalk, type WalkOptions } from './walk.ts';
import type { CalibrationWindows } from './windows.ts';

export interface CalibrationFacts {
  calibration?: {
    order: string;
    correct: boolean;
    samples: number;
    context: number;
    tokens: number;
    /** Its name, where it has one, and sha256 of the token ids as little-endian i32. */
    text: { name?: string; sha256: string };
  };
  /** The file that told of the inputs instead of a text. */
  statistics?: { name: string; fingerprint: string } & Partial<StatisticsProvenance>;
  solves?: SolveRecord[];
  /** What static inputs were found to cover. */
  inputs?: InputRecord[];
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

/** Without the folders of this machine. */
const fileName = (path: string) => path.split(/[\\/]/).at(-1)!;

type Calibrated = Extract<PlanNode, { kind: 'capture' | 'solve' | 'propagate' }>;

export class CalibratedSteps {
  readonly #parts: CalibratedParts;
  readonly #solver: Solver;
  readonly #inputs: StaticInputs;
  /** From capture to solve. */
  readonly #captured = new Map<Group, CapturedInput>();
  /** Propagations that nothing has asked for yet. */
  readonly #owed: Extract<PlanNode, { kind: 'propagate' }>[] = [];
  #walk: LayerWalk | undefined;
  /** The same samples through the unquantized model. */
  #original: LayerWalk | undefined;
  #source: WeightReader | undefined;
  #output: { model: Model; weights: WeightReader } | undefined;

  constructor(parts: CalibratedParts) {
    this.#parts = parts;
    const { layout } = parts.place.plan;
    this.#solver = new Solver({ ...parts, layout });
    this.#inputs = new StaticInputs({ ...parts, layout });
  }

  async perform(node: Calibrated): Promise<void> {
    if (node.kind === 'capture') await this.#capture(node);
    else if (node.kind === 'solve') await this.#solve(node);
    else this.#owed.push(node);
  }

  /** For the report. */
  async facts(): Promise<CalibrationFacts> {
    const { plan } = this.#parts.place;
    const { calibration, statistics } = plan;
    const windows = this.#parts.calibration;
    const { records } = this.#solver;
    const inputs = await this.#inputs.records();
    return {
      ...(calibration &&
        windows && {
          calibration: {
            order: calibration.order,
            correct: this.#corrects,
            samples: windows.samples,
            context: windows.context,
            tokens: windows.ids.length,
            text: { ...(windows.name !== undefined && { name: windows.name }), sha256: await idsHash(windows.ids) },
          },
        }),
      ...(statistics && {
        statistics: { name: fileName(statistics.name), fingerprint: await statistics.fingerprint(), ...statistics.provenance },
      }),
      ...(records.length > 0 && { solves: records }),
      ...(inputs.length > 0 && { inputs }),
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
    if (missing.length === 0) {
      progress.skip(node.id);
      return;
    }
    const walk = await this.#walkOn();
    progress.begin(node.id, layer === place.plan.model.spec!.layers ? 'inputs of the head' : `inputs of layer ${layer}`);
    const kinds = [...new Set(missing.flatMap((group) => group.kinds))];
    const weights = await this.#weights(node);
    const watch = this.#inputs.watch(missing);
    const seen = watch && { watch };
    const move = this.#endsLayer(node);
    // Where nothing is compared and nothing changes, one pass is enough to look and to move on.
    const statistics =
      move && place.plan.calibration!.order === 'parallel'
        ? await walk.captureAndAdvance(weights, missing, kinds, seen)
        : await walk.capture(weights, missing, kinds, {
            ...(this.#original && { original: { walk: this.#original, weights: this.#source!, move } }),
            ...seen,
          });
    progress.end();
    for (const [i, group] of missing.entries()) this.#captured.set(group, statistics[i]!);
  }

  /** The walk, in front of the layer whose turn it is. */
  async #walkOn(): Promise<LayerWalk> {
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
    const openAt = (name: string, embedding: WeightReader, onProgress?: WalkOptions['onProgress']) =>
      openWalk(plan.model.spec!, embedding, calibration.ids, {
        samples: calibration.samples,
        context: calibration.context,
        ...(plan.model.online && { online: plan.model.online }),
        spill: { store, folder: `${folder}/${name}` },
        ...(signal && { signal }),
        ...(onProgress && { onProgress }),
      });
    this.#walk ??= await openAt('activations', (await this.#embedding()) ?? source, ({ done, total }) =>
      progress.part(done / total),
    );
    const walk = this.#walk;
    if (this.#corrects) this.#original ??= await openAt('original', source);
    for (const node of this.#owed.splice(0)) {
      signal?.throwIfAborted();
      const passes = [this.#original, walk].some((one) => one?.layer === node.layer);
      if (!passes) progress.skip(node.id);
      else progress.begin(node.id, `through layer ${node.layer}`);
      if (this.#original?.layer === node.layer) await this.#original.advance(source);
      if (walk.layer === node.layer) await walk.advance(node.weights === 'output' ? await this.#written() : source);
      if (passes) progress.end();
    }
    return walk;
  }

  /** The embedding as it was written; one that is solved for itself, as the head, is written last. */
  async #embedding(): Promise<WeightReader | undefined> {
    const { plan } = this.#parts.place;
    const tensor = plan.layout.tensors.find(({ role }) => role === 'embedding');
    const written = tensor && tensor.scheme.kind !== 'keep' && needsOf(tensor.scheme).length === 0;
    return written && plan.calibration?.order !== 'parallel' ? await this.#written() : undefined;
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

  async #solve({ id, group }: Extract<PlanNode, { kind: 'solve' }>): Promise<void> {
    const { writer, signal, progress } = this.#parts;
    if (await writer.isDone(group.tensors, signal)) {
      progress.skip(id);
      return;
    }
    const captured = this.#captured.get(group) ?? (await this.#stored(group));
    this.#captured.delete(group);
    progress.begin(id, `solving ${group.linears.join(', ')}`);
    await this.#inputs.write(group, captured);
    await this.#solver.solve(group, captured);
    progress.end();
  }

  async #stored(group: Group): Promise<CapturedInput> {
    const { statistics: stored, inputs } = this.#parts.place.plan;
    const reader = inputs ?? stored!;
    const linear = group.linears[0]!;
    const statistics: CapturedInput = { tokens: reader.tokens(linear) };
    for (const kind of group.kinds) statistics[kind] = await reader.read(linear, kind);
    if (!group.kinds.includes('meansquare') && reader.has(linear, 'meansquare'))
      statistics.meansquare = await reader.read(linear, 'meansquare');
    return statistics;
  }
}
