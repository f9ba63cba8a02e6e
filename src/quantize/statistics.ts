/**
 * What is known of the inputs of linear layers. A linear is named like its weight without `.weight`:
 * 'model.layers.0.self_attn.q_proj'.
 */

export const statisticKinds = ['hessian', 'absmax', 'absmean', 'meansquare', 'min', 'max', 'samples'] as const;
export type StatisticKind = (typeof statisticKinds)[number];

/** Statistics of one input x [in] over n tokens. */
export interface Statistics {
  /** n; 0 for an expert that no token reached. */
  tokens: number;
  /** (1 / n) sum of x x', [in, in]. */
  hessian?: Float32Array;
  /** Each [in]. */
  absmax?: Float32Array;
  absmean?: Float32Array;
  /** What llama.cpp calls the importance matrix. */
  meansquare?: Float32Array;
  min?: Float32Array;
  max?: Float32Array;
  /** Some inputs themselves, [k, in]. */
  samples?: Float32Array;
}

/** Where statistics come from. */
export interface StatisticsProvenance {
  /** Of the library that made them. */
  version: string;
  /** Fingerprints of the model: its headers, and samples of its bytes where it was on a disk. */
  source: string;
  content?: string;
  /** The text's name, and sha256 of its token ids as little-endian i32. */
  text: { name: string; sha256: string };
  /** Windows, tokens of one, and of all. */
  samples: number;
  context: number;
  tokens: number;
}

/** Statistics that are read when they are needed: one Hessian can be 268 MB. */
export interface StatisticsReader {
  /** For messages. */
  readonly name: string;
  /** Where a file tells. */
  readonly provenance?: StatisticsProvenance;
  linears(): readonly string[];
  has(linear: string, kind: StatisticKind): boolean;
  /** undefined where it holds none. */
  shape(linear: string, kind: StatisticKind): readonly number[] | undefined;
  /** NaN where a file does not tell. */
  tokens(linear: string): number;
  /** The linear whose statistics stand for this one: linears with one input share them. */
  shared(linear: string): string;
  /** @throws RecipeError naming the linear, the kind and the file when it is missing or has another width. */
  read(linear: string, kind: StatisticKind): Promise<Float32Array>;
  /** Names what the statistics hold: a run that was begun with others is not continued. */
  fingerprint(): Promise<string>;
  close(): Promise<void>;
}
