/** Statistics of one input, summed up run by run: products and reductions in ONNX Runtime, what they add up to here. */
import { ModelError, NumericError } from '../../errors.ts';
import {
  buildCross,
  buildGram,
  buildReductions,
  createSession,
  type Graph,
  type GraphSession,
  type GraphTensor,
  gramRows,
  type Reduction,
} from '../../graph/index.ts';
import type { InputGroup } from '../../model/index.ts';
import type { StatisticKind, Statistics } from '../../quantize/statistics.ts';

/** Rows of an input that are kept as `samples`, spread evenly over all tokens. */
const sampleRows = 512;

/** Rows that `samples` holds of an input of so many tokens. */
export function sampleCount(tokens: number): number {
  return Math.min(tokens, sampleRows);
}

/** What each kind is made of. The sum of absolute values is always there: it is where NaN and Inf show. */
const needs: Readonly<Record<StatisticKind, readonly Reduction[]>> = {
  hessian: [],
  samples: [],
  absmax: ['min', 'max'],
  absmean: ['abssum'],
  meansquare: ['squaresum'],
  min: ['min'],
  max: ['max'],
};

/** The sessions that all inputs share. */
export class SumSessions {
  readonly #sessions = new Map<string, Promise<GraphSession>>();

  gram(): Promise<GraphSession> {
    return this.#session('gram', buildGram);
  }

  cross(): Promise<GraphSession> {
    return this.#session('cross', buildCross);
  }

  reductions(wanted: readonly Reduction[]): Promise<GraphSession> {
    return this.#session(wanted.join(), () => buildReductions(wanted));
  }

  async close(): Promise<void> {
    const sessions = await Promise.allSettled(this.#sessions.values());
    this.#sessions.clear();
    for (const session of sessions) if (session.status === 'fulfilled') await session.value.close();
  }

  #session(key: string, build: () => Graph): Promise<GraphSession> {
    const known = this.#sessions.get(key) ?? createSession(build(), { considerate: true });
    this.#sessions.set(key, known);
    return known;
  }
}

export class InputSums {
  readonly #sessions: SumSessions;
  readonly #where: string;
  readonly #width: number;
  readonly #kinds: ReadonlySet<StatisticKind>;
  readonly #reductions: readonly Reduction[];
  /** Sums in f64, extremes as they are; each [width]. */
  readonly #vectors = new Map<Reduction, Float64Array>();
  /** Sum of x x', [width, width]: the diagonal and what is right of it. */
  readonly #gram: Float32Array | undefined;
  readonly #samples: Float32Array | undefined;
  readonly #total: number;
  #tokens = 0;

  /** @param tokens that will be added in all */
  constructor(
    sessions: SumSessions,
    layer: number,
    { linears, width }: InputGroup,
    kinds: readonly StatisticKind[],
    tokens: number,
  ) {
    this.#sessions = sessions;
    this.#where = `layer ${layer}: ${linears[0]}`;
    this.#width = width;
    this.#kinds = new Set(kinds);
    // With a Hessian the mean squares are its diagonal.
    const reduced = kinds.filter((kind) => !(kind === 'meansquare' && this.#kinds.has('hessian')));
    this.#reductions = [...new Set<Reduction>(['abssum', ...reduced.flatMap((kind) => needs[kind])])].sort();
    for (const name of this.#reductions) this.#vectors.set(name, new Float64Array(width).fill(starts[name]));
    if (this.#kinds.has('hessian')) this.#gram = new Float32Array(width * width);
    if (this.#kinds.has('samples')) this.#samples = new Float32Array(sampleCount(tokens) * width);
    this.#total = tokens;
  }

  /** @param x [tokens, width] @throws NumericError when it holds NaN or Inf */
  async add(x: GraphTensor): Promise<void> {
    const width = this.#width;
    const data = x.data as Float32Array;
    if (x.dims[1] !== width)
      throw new ModelError({
        what: 'the input of a linear has another width',
        where: this.#where,
        value: x.dims[1],
        limit: width,
      });
    const reduced = await (await this.#sessions.reductions(this.#reductions)).run({ x });
    if (!finite(reduced['abssum']!.data as Float32Array)) throw this.#notFinite(data);
    for (const name of this.#reductions) combine[name](this.#vectors.get(name)!, reduced[name]!.data as Float32Array);
    if (this.#gram) await this.#addGram(this.#gram, x);
    this.#keepSamples(data);
    this.#tokens += data.length / width;
  }

  /** The statistics; the sums are used up. @throws NumericError when squares overflowed */
  finish(): Statistics {
    const tokens = this.#tokens;
    const row = (value: (i: number) => number) => Float32Array.from({ length: this.#width }, (_, i) => value(i));
    const vector = (name: Reduction) => this.#vectors.get(name)!;
    const hessian = this.#gram && symmetricMean(this.#gram, this.#width, tokens);
    const diagonal = hessian && row((i) => hessian[i * (this.#width + 1)]!);
    const make: Readonly<Record<StatisticKind, () => Float32Array>> = {
      hessian: () => hessian!,
      samples: () => this.#samples!,
      absmax: () => row((i) => Math.max(vector('max')[i]!, -vector('min')[i]!)),
      absmean: () => row((i) => vector('abssum')[i]! / tokens),
      meansquare: () => diagonal ?? row((i) => vector('squaresum')[i]! / tokens),
      min: () => Float32Array.from(vector('min')),
      max: () => Float32Array.from(vector('max')),
    };
    const made: Statistics = { tokens };
    for (const kind of this.#kinds) made[kind] = make[kind]();
    const squares = diagonal ?? made.meansquare;
    if (squares && !finite(squares))
      throw new NumericError({ what: 'the squares of activations overflow f32', where: this.#where });
    return made;
  }

  /** Adds what x'x holds from the diagonal on, some rows at a time. */
  async #addGram(gram: Float32Array, x: GraphTensor): Promise<void> {
    const width = this.#width;
    const session = await this.#sessions.gram();
    const step = gramRows(width);
    for (let from = 0; from < width; from += step) {
      const to = Math.min(from + step, width);
      const part = (await session.run({ x, from: index(from), to: index(to) }))['gram']!.data as Float32Array;
      for (let i = from, p = 0; i < to; i++)
        for (let at = i * width + from, end = (i + 1) * width; at < end; at++) gram[at]! += part[p++]!;
    }
  }

  /** Rows of evenly spaced tokens: sample k is token floor(k * total / count). */
  #keepSamples(data: Float32Array): void {
    if (!this.#samples) return;
    const width = this.#width;
    const count = sampleCount(this.#total);
    const end = this.#tokens + data.length / width;
    for (let k = Math.ceil((this.#tokens * count) / this.#total); k < count; k++) {
      const token = Math.floor((k * this.#total) / count);
      if (token >= end) return;
      const row = token - this.#tokens;
      this.#samples.set(data.subarray(row * width, (row + 1) * width), k * width);
    }
  }

  #notFinite(data: Float32Array): NumericError {
    const bad = data.reduce((count, value) => count + (Number.isFinite(value) ? 0 : 1), 0);
    if (bad === 0) return new NumericError({ what: 'activations are so large that their sum overflows f32', where: this.#where });
    return new NumericError({
      what: `${bad} of ${data.length} activations are NaN or Inf`,
      where: this.#where,
      next: 'check the weights of the layers before (fewbits inspect --values) and that the text suits the model',
    });
  }
}

const starts: Readonly<Record<Reduction, number>> = { abssum: 0, squaresum: 0, min: Infinity, max: -Infinity };

type Combine = (into: Float64Array, part: Float32Array) => void;
const each =
  (two: (a: number, b: number) => number): Combine =>
  (into, part) => {
    for (let i = 0; i < into.length; i++) into[i] = two(into[i]!, part[i]!);
  };
const sum = each((a, b) => a + b);
const combine: Readonly<Record<Reduction, Combine>> = { abssum: sum, squaresum: sum, min: each(Math.min), max: each(Math.max) };

/** Side of the squares in which a matrix is mirrored: two of them fit a core's cache. */
const mirrorSide = 64;

/** Divides a sum by `tokens` and mirrors its upper triangle, in place: symmetric to the bit. @param gram [width, width] */
function symmetricMean(gram: Float32Array, width: number, tokens: number): Float32Array {
  for (let top = 0; top < width; top += mirrorSide)
    for (let left = top; left < width; left += mirrorSide)
      for (let i = top; i < Math.min(top + mirrorSide, width); i++)
        for (let j = Math.max(left, i); j < Math.min(left + mirrorSide, width); j++)
          gram[j * width + i] = gram[i * width + j] = gram[i * width + j]! / tokens;
  return gram;
}

/** A bound of a slice. */
export function index(value: number): GraphTensor {
  return { type: 'i64', dims: [1], data: BigInt64Array.of(BigInt(value)) };
}

function finite(values: Float32Array): boolean {
  return values.every(Number.isFinite);
}
