import type { PlacedTensor } from '../format/types.ts';
import { elements } from '../tensor/tensor.ts';

export interface ProgressEvent {
  /** Tensors finished and in all. */
  tensors: number;
  tensorCount: number;
  /** Values finished and in all. */
  values: number;
  valueCount: number;
  /** The tensor that was worked on last, or what else is being done. */
  name: string;
  /** Bytes of f32 a second: values a second times four. */
  /** Absent in the first moment, when they would mislead. */
  bytesPerSecond?: number;
  secondsLeft?: number;
}

/** Before this, start-up is all that the rate shows. */
const SETTLED_SECONDS = 0.7;

export class Progress {
  readonly #tensors: readonly PlacedTensor[];
  readonly #notify: ((event: ProgressEvent) => void) | undefined;
  readonly #left: number[];
  readonly #valueCount: number;
  readonly #started = performance.now();
  #values = 0;
  #finished = 0;

  constructor(tensors: readonly PlacedTensor[], notify?: (event: ProgressEvent) => void) {
    this.#tensors = tensors;
    this.#notify = notify;
    this.#left = tensors.map((tensor) => tensor.from.rows);
    this.#finished = this.#left.filter((rows) => rows === 0).length;
    this.#valueCount = tensors.reduce((sum, tensor) => sum + elements(tensor.shape), 0);
  }

  add(index: number, [from, to]: readonly [number, number]): void {
    const tensor = this.#tensors[index]!;
    this.#values += (to - from) * tensor.from.cols;
    this.#left[index]! -= to - from;
    if (this.#left[index] === 0) this.#finished++;
    this.#tell(tensor.source);
  }

  /** Work that is not the writing of values. */
  say(what: string): void {
    this.#tell(what);
  }

  #tell(name: string): void {
    const seconds = (performance.now() - this.#started) / 1000;
    this.#notify?.({
      tensors: this.#finished,
      tensorCount: this.#tensors.length,
      values: this.#values,
      valueCount: this.#valueCount,
      name,
      ...(seconds > SETTLED_SECONDS &&
        this.#values > 0 && {
          bytesPerSecond: (4 * this.#values) / seconds,
          secondsLeft: (seconds * (this.#valueCount - this.#values)) / Math.max(1, this.#values),
        }),
    });
  }
}
