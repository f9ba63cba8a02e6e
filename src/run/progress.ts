import type { PlacedTensor } from '../format/types.ts';
import { elements } from '../tensor/tensor.ts';
import type { Work } from './work.ts';

export interface ProgressEvent {
  /** Tensors finished and in all. */
  tensors: number;
  tensorCount: number;
  /** Values finished and in all. */
  values: number;
  valueCount: number;
  /** The tensor that was worked on last, or what else is being done. */
  name: string;
  /** Bytes of f32 a second: values a second times four. Absent in the first moment, when it would mislead. */
  bytesPerSecond?: number;
  /** By the work that is done, passes through layers included. Absent as long as that is too little to tell. */
  secondsLeft?: number;
}

/** Before this, start-up is all that a rate shows. */
const SETTLED_SECONDS = 0.7;
/** Before this share of the work, what is done first is all that it shows. */
const SETTLED_SHARE = 0.03;

export class Progress {
  readonly #tensors: readonly PlacedTensor[];
  readonly #notify: ((event: ProgressEvent) => void) | undefined;
  readonly #work: Work;
  readonly #left: number[];
  readonly #valueCount: number;
  readonly #started = performance.now();
  #values = 0;
  #finished = 0;
  /** Work that takes or took time: what an earlier run did is in neither. */
  #done = 0;
  #total: number;
  /** The node that is worked on, and how far. */
  #step = { name: '', work: 0, part: 0 };

  /** @param work default: all values alike */
  constructor(tensors: readonly PlacedTensor[], notify?: (event: ProgressEvent) => void, work?: Work) {
    this.#tensors = tensors;
    this.#notify = notify;
    this.#work = work ?? { tensors: tensors.map(({ from }) => from.rows * from.cols), nodes: new Map() };
    this.#left = tensors.map((tensor) => tensor.from.rows);
    this.#finished = this.#left.filter((rows) => rows === 0).length;
    this.#valueCount = tensors.reduce((sum, tensor) => sum + elements(tensor.shape), 0);
    this.#total = [...this.#work.tensors, ...this.#work.nodes.values()].reduce((sum, one) => sum + one, 0);
  }

  /** Rows of a tensor are written, or were by an earlier run. */
  add(index: number, [from, to]: readonly [number, number], before = false): void {
    const tensor = this.#tensors[index]!;
    const work = (this.#work.tensors[index]! * (to - from)) / tensor.from.rows;
    if (before) this.#total -= work;
    else this.#done += work;
    this.#values += (to - from) * tensor.from.cols;
    this.#left[index]! -= to - from;
    if (this.#left[index] === 0) this.#finished++;
    this.#tell(tensor.source);
  }

  /** A node that is not the writing of values. */
  begin(id: string, name: string): void {
    this.#step = { name, work: this.#work.nodes.get(id) ?? 0, part: 0 };
    this.#tell(name);
  }

  /** How much of the node is done, 0 to 1. */
  part(part: number): void {
    this.#step.part = part;
    this.#tell(this.#step.name);
  }

  end(): void {
    this.#done += this.#step.work;
    this.#step = { name: '', work: 0, part: 0 };
  }

  /** A node that there is nothing to do for. */
  skip(id: string): void {
    this.#total -= this.#work.nodes.get(id) ?? 0;
  }

  #tell(name: string): void {
    const seconds = (performance.now() - this.#started) / 1000;
    const done = this.#done + this.#step.work * this.#step.part;
    const settled = seconds > SETTLED_SECONDS;
    this.#notify?.({
      tensors: this.#finished,
      tensorCount: this.#tensors.length,
      values: this.#values,
      valueCount: this.#valueCount,
      name,
      ...(settled && this.#values > 0 && { bytesPerSecond: (4 * this.#values) / seconds }),
      ...(settled && done > SETTLED_SHARE * this.#total && { secondsLeft: (seconds * (this.#total - done)) / done }),
    });
  }
}
