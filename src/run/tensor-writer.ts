/** Writes tensors tile by tile over the workers; what an earlier run finished is looked at and taken over. */
import { FormatError, VerificationError } from '../errors.ts';
import type { TileErrors } from '../evaluate/tensor-report.ts';
import { writeField } from '../format/field-ranges.ts';
import { inputBytes, parseInput } from '../format/static-inputs.ts';
import type { InputField, PlacedInput, PlacedTensor } from '../format/types.ts';
import type { ByteSink } from '../io/types.ts';
import { type InputScaleType, staticLevels } from '../quantize/activations.ts';
import type { Survey } from '../quantize/kinds/types.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { looksAtLoss } from '../recipe/needs.ts';
import type { Plan } from '../recipe/plan.ts';
import { tilesOf } from '../recipe/tiles.ts';
import { inOrder } from './in-order.ts';
import type { Journal } from './journal.ts';
import type { Progress } from './progress.ts';
import { withFactor } from './ranges/search.ts';
import type { TileField, TileInputs, TileResult, TileTask } from './tile.ts';
import { tileSource } from './tile-source.ts';
import type { TileWorkers } from './workers.ts';

export interface WriterParts {
  plan: Plan;
  /** By file of the layout; open when the first tensor is written. */
  sinks: readonly ByteSink[];
  workers: TileWorkers;
  journal: Journal;
  verify: 'full' | 'none';
  progress: Progress;
}

type Rows = readonly [from: number, to: number];

export class TensorWriter {
  /** By tensor of the layout: the errors of its tiles, in any order. */
  readonly errors: TileErrors[][];
  /** What all rows of a tensor agree on; forgotten when it is written. */
  readonly surveys = new Map<number, Survey>();
  /** What is known of the inputs of tensors that are rounded with feedback; forgotten when the tensor is written. */
  readonly inputs = new Map<number, TileInputs>();
  /** Tiles taken over from an earlier run. */
  resumed = 0;
  readonly #parts: WriterParts;
  readonly #before: ReadonlyMap<string, TileErrors | null>;
  readonly #finished = new Set<string>();
  readonly #factors = new Map<string, number>();

  constructor(parts: WriterParts) {
    this.#parts = parts;
    this.errors = parts.plan.layout.tensors.map(() => []);
    this.#before = new Map(parts.journal.tiles.map(([tensor, from, entry]) => [`${tensor}:${from}`, entry]));
  }

  /** A tensor of the layout as it is written. */
  tensor(index: number): PlacedTensor {
    const tensor = this.#parts.plan.layout.tensors[index]!;
    const factor = this.#factors.get(tensor.source);
    return factor !== undefined && looksAtLoss(tensor.scheme) ? { ...tensor, scheme: withFactor(tensor.scheme, factor) } : tensor;
  }

  /** What the range of a tensor is multiplied by. */
  chooseFactor(source: string, factor: number): void {
    this.#factors.set(source, factor);
  }

  /** Whether an earlier run has finished these tensors: their tiles are read back and have the errors that the journal holds. */
  async isDone(tensors: readonly number[], signal?: AbortSignal): Promise<boolean> {
    const jobs = this.#tiles(tensors).map(
      ([index, rows]) =>
        () =>
          this.#takeOver(index, rows),
    );
    await inOrder(jobs, this.#parts.workers.size * 2, signal);
    if (!this.#tiles(tensors).every(([index, [from]]) => this.#finished.has(`${index}:${from}`))) return false;
    const inputs = await Promise.all(tensors.map((index) => this.#hasInput(index)));
    return inputs.every(Boolean);
  }

  /**
   * Writes the levels of a static input and reads them back.
   * @param scheme with its range
   * @throws VerificationError when they are not what was written
   */
  async writeInput(index: number, scheme: ActivationScheme): Promise<void> {
    const { input = {}, source } = this.#parts.plan.layout.tensors[index]!;
    const levels = staticLevels(scheme, input.scale!.type as InputScaleType);
    for (const [key, place] of Object.entries(input) as [InputField, PlacedInput][])
      await this.#parts.sinks[place.file]!.write(inputBytes(levels[key], place.type), place.offset);
    const back = await this.inputLevels(index);
    const same = (a: ArrayLike<number>, b: ArrayLike<number>, type: PlacedInput['type']) =>
      inputBytes(a, type).every((byte, i) => byte === inputBytes(b, type)[i]);
    if (
      back &&
      (Object.entries(input) as [InputField, PlacedInput][]).every(([key, { type }]) => same(levels[key], back[key]!, type))
    )
      return;
    throw new VerificationError({
      what: 'the scale of an input is not what was written',
      where: source,
      next: 'run the command again on another disk',
    });
  }

  /** What the output holds of a static input; undefined for other tensors. @throws FormatError where nothing was written */
  async inputLevels(index: number): Promise<ActivationScheme['levels']> {
    const { input, source } = this.#parts.plan.layout.tensors[index]!;
    if (!input) return undefined;
    const parts: Parameters<typeof parseInput>[0] = {};
    for (const [key, { file, offset, bytes: size, type }] of Object.entries(input) as [InputField, PlacedInput][]) {
      const bytes = new Uint8Array(size);
      await this.#parts.sinks[file]!.readInto(bytes, offset);
      parts[key] = { bytes, type };
    }
    return parseInput(parts, source);
  }

  /** Whether the levels of a static input were written before its tiles, as they are: an empty place holds a scale of 0. */
  async #hasInput(index: number): Promise<boolean> {
    try {
      await this.inputLevels(index);
      return true;
    } catch (error) {
      if (error instanceof FormatError) return false;
      throw error;
    }
  }

  async write(tensors: readonly number[], signal?: AbortSignal): Promise<void> {
    const jobs = this.#tiles(tensors).map(
      ([index, rows]) =>
        () =>
          this.#one(index, rows),
    );
    await inOrder(jobs, this.#parts.workers.size * 2, signal);
    for (const index of tensors) {
      this.inputs.delete(index);
      this.surveys.delete(index);
    }
  }

  /** @throws VerificationError when a tile of the output was never written: a plan that forgets a tensor shows here. */
  checkComplete(): void {
    const { tensors } = this.#parts.plan.layout;
    const missing = this.#tiles([...tensors.keys()]).find(([index, [from]]) => !this.#finished.has(`${index}:${from}`));
    if (!missing) return;
    throw new VerificationError({
      what: 'rows of the output were never written',
      where: tensors[missing[0]]!.source,
      value: `from row ${missing[1][0]}`,
      next: 'this is a bug: please report it with the recipe',
    });
  }

  #tiles(tensors: readonly number[]): [number, Rows][] {
    return tensors.flatMap((index) =>
      tilesOf(this.#parts.plan.layout.tensors[index]!).map((rows): [number, Rows] => [index, rows]),
    );
  }

  async #one(index: number, rows: Rows): Promise<void> {
    if (await this.#takeOver(index, rows)) return;
    const { plan, sinks, workers, journal, verify } = this.#parts;
    const tensor = plan.layout.tensors[index]!;
    const result = await workers.tile({ ...this.#task(index, rows), steps: verify === 'none' ? 'write' : 'both' });
    for (const { key, bytes } of result.pieces ?? [])
      await writeField(sinks[tensor.fields[key]!.file]!, tensor.fields[key]!, rows, bytes);
    await journal.add([index, rows[0], result.errors ?? null]);
    this.#finish(index, rows, result);
  }

  /** A tile that an earlier run finished: its bytes are read back and must give the errors of the journal; else it is done again. */
  async #takeOver(index: number, rows: Rows): Promise<boolean> {
    const key = `${index}:${rows[0]}`;
    if (this.#finished.has(key)) return true;
    const before = this.#before.get(key);
    if (before === undefined) return false;
    let result: TileResult = {};
    if (this.#parts.verify !== 'none') {
      result = await this.#parts.workers.tile({ ...this.#task(index, rows), steps: 'check' });
      if (!result.errors || JSON.stringify(result.errors) !== JSON.stringify(before)) return false;
    }
    this.resumed++;
    this.#finish(index, rows, result, true);
    return true;
  }

  #finish(index: number, rows: Rows, { errors }: TileResult, before = false): void {
    this.#finished.add(`${index}:${rows[0]}`);
    if (errors) this.errors[index]!.push(errors);
    this.#parts.progress.add(index, rows, before);
  }

  #task(index: number, rows: Rows): TileTask {
    const { plan, sinks } = this.#parts;
    const tensor = this.tensor(index);
    const inputs = this.inputs.get(index) ?? importanceOf(plan, tensor);
    const survey = this.surveys.get(index);
    return {
      name: tensor.source,
      container: plan.container,
      from: tileSource(tensor.from, rows),
      scheme: tensor.scheme,
      ...(tensor.tile && { tile: tensor.tile }),
      fields: fieldsOf(tensor, sinks),
      rows,
      ...(inputs && { inputs }),
      ...(survey && { survey }),
      steps: 'both',
    };
  }
}

function importanceOf(plan: Plan, { source, scheme }: PlacedTensor): TileInputs | undefined {
  const meansquare = scheme.kind === 'storage' ? plan.importance.get(source) : undefined;
  return meansquare && { meansquare };
}

function fieldsOf({ fields }: PlacedTensor, sinks: readonly ByteSink[]): Record<string, TileField> {
  return Object.fromEntries(
    Object.entries(fields).map(([key, { file, ...place }]) => [key, { handle: sinks[file]!.handle, ...place }]),
  );
}
