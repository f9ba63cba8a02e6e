/** GPTQ on integer grids: the rows of a tile, with scales that the scheme's range finds. */
import { RecipeError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import type { QuantizedTile, Sharing } from '../../quantized/types.ts';
import { checkFinite } from '../check.ts';
import { runLength, sharedCount, sharingOf } from '../granularity.ts';
import { GroupScaler, inComputeType } from '../group-scaler.ts';
import { gridOf, type RowOptions, rangeContext, surveyLimits, type TilePlace, zeroOf } from '../quantize-matrix.ts';
import { checkInputs } from '../range/inputs.ts';
import { rangeNeeds, rangeOf } from '../range/registry.ts';
import type { Limits, RangeInputs } from '../range/types.ts';
import type { GptqRounding, MatrixScheme } from '../scheme.ts';
import { type Factor, TILE } from './factor.ts';
import { Feedback, type KeptCells, type Level } from './feedback.ts';

/** A scheme that rounds with error feedback. */
export type GptqScheme = MatrixScheme & { rounding: GptqRounding };

export interface GptqRowOptions extends RowOptions {
  /** Cells that no code stands for: levels are found without them. */
  kept?: KeptCells;
}

/** How many columns share a scale, and when it is found. */
interface Groups {
  /** Columns of a group. */
  length: number;
  count: number;
  per: Sharing;
  /** [cols]: the group of the column that is rounded k-th, in the order in which groups are found. */
  of: Int32Array;
  /** [count]: where its level is stored. */
  places: Int32Array;
  isDynamic: boolean;
  /** Whether columns stand in their groups in another order than in the matrix when levels are found. */
  isPermuted: boolean;
}

/**
 * Rounds rows [place.from, place.to) to the nearest codes in f32 (ties to even) of what feedback makes of each weight. Errors are
 * those of the values that `dequantizeTile` gives. The result of a row does not depend on how rows are cut.
 * @param x [to - from, cols]
 * @throws NumericError for NaN, Inf, or scales that overflow their dtype; RecipeError for groups or inputs that do not fit
 */
export function gptqRows(
  kernels: Kernels,
  x: Float32Array,
  place: TilePlace,
  scheme: GptqScheme,
  factor: Factor,
  options: GptqRowOptions = {},
): QuantizedTile {
  return gptqTile(kernels, x, place, scheme, factor, options).tile;
}

/** The same, and the values of cells that are kept, [to - from, cols]. */
export function gptqTile(
  kernels: Kernels,
  x: Float32Array,
  place: TilePlace,
  scheme: GptqScheme,
  factor: Factor,
  { inputs, kept }: GptqRowOptions = {},
): { tile: QuantizedTile; keptValues?: Float32Array } {
  const { name, from, to } = place;
  const [rows, cols] = place.shape;
  checkShapes(x, place, scheme, factor);
  checkFinite(x, name, from, cols);
  // The arena grows below, and growth takes views of it away.
  const values = x.buffer === kernels.bytes(0, 0).buffer ? x.slice() : x;
  const groups = groupsOf(scheme, factor, name);
  if (inputs) checkInputs(inputs, scheme.granularity, cols, name);
  const scales = new LevelFinder(scheme, place, groups, values, inGroupOrder(inputs, scheme, factor, groups, name));
  const { bits } = gridOf(scheme);
  const { arithmetic } = rangeContext(scheme);

  const mark = kernels.mark();
  try {
    const grid = { span: 2 ** bits - 1, compute: arithmetic.compute, groups: groups.count, groupOf: groups.of };
    const feedback = new Feedback(kernels, values, factor, { ...grid, ...(kept && { kept }) });
    const without = withoutKept(kept, factor);
    if (!groups.isDynamic) findAll(values, feedback, scales, groups, scheme, factor, without);
    roundAll(feedback, scales, groups, scheme.rounding.block, cols, without);
    feedback.losses(name);
    const zero = zeroOf(scheme);
    const { per } = groups;
    const tile: QuantizedTile = {
      name,
      shape: [rows, cols],
      from,
      to,
      grid: gridOf(scheme),
      codes: feedback.codes(),
      scale: { values: scales.scales, stored: scheme.scaleType, per },
      ...(zero && { zero: { kind: zero.kind, levels: { values: scales.zeros, stored: zero.stored, per } } }),
      arithmetic,
    };
    return { tile, ...(kept && { keptValues: feedback.keptValues(values, kept) }) };
  } finally {
    kernels.reset(mark);
  }
}

function checkShapes(x: Float32Array, { name, from, to, shape }: TilePlace, { rounding }: GptqScheme, factor: Factor): void {
  const cols = shape[1];
  if (factor.cols !== cols) {
    throw new RecipeError({
      what: 'the Hessian has another width than the weight',
      where: name,
      value: factor.cols,
      limit: cols,
    });
  }
  if (x.length !== (to - from) * cols) {
    throw new RecipeError({ what: 'the values do not fill the rows', where: name, value: x.length, limit: (to - from) * cols });
  }
  if (!Number.isInteger(rounding.block) || rounding.block < 1) {
    throw new RecipeError({
      what: 'not a block size',
      where: name,
      value: rounding.block,
      next: 'use a whole number, such as 128',
    });
  }
}

function groupsOf({ granularity, rounding }: GptqScheme, { cols, order }: Factor, name: string): Groups {
  const length = runLength(granularity, cols, name);
  const isDynamic = typeof granularity === 'object' && rounding.groups === 'dynamic';
  const inOrder = isDynamic && rounding.order === 'activation';
  const of = order.map((column, k) => Math.floor((isDynamic ? k : column) / length));
  const count = cols / length;
  // In the order by groups a group is found as a run of that order, and stored where its columns lie.
  const moved = isDynamic && rounding.order === 'groups';
  const places = Int32Array.from({ length: count }, (_, g) => (moved ? Math.floor(order[g * length]! / length) : g));
  const shared = { length, count, of, places, isDynamic, isPermuted: isDynamic && rounding.order !== 'natural' };
  if (!inOrder) return { ...shared, per: sharingOf(granularity) };
  const groupOf = new Int32Array(cols); // [cols] in the columns' own order
  order.forEach((column, k) => {
    groupOf[column] = of[k]!;
  });
  return { ...shared, per: { groupOf } };
}

/** The statistics of the columns as they stand in their groups. */
function inGroupOrder(
  inputs: RangeInputs | undefined,
  { range }: GptqScheme,
  { order }: Factor,
  { isPermuted }: Groups,
  name: string,
): RangeInputs | undefined {
  if (!isPermuted) return inputs;
  if (rangeNeeds(range).includes('hessian')) {
    throw new RecipeError({
      what: 'groups in activation order are no blocks of the Hessian, which this range reads',
      where: name,
      value: range,
      next: 'use --range imatrix or mse, or static groups',
    });
  }
  const meansquare = inputs?.meansquare;
  return meansquare && { meansquare: Float32Array.from(order, (column) => meansquare[column]!) };
}

/** Makes the kept cells of a row 0, as a range sees them: of values that begin with the column that is rounded `first`-th, or all. */
type WithoutKept = ((values: Float32Array, row: number, first?: number) => void) | undefined;

function withoutKept(kept: KeptCells | undefined, { cols, order }: Factor): WithoutKept {
  if (!kept) return undefined;
  const { mask } = kept;
  return (values, row, first) => {
    const column = (i: number): number => (first === undefined ? i : order[first + i]!);
    for (let i = 0; i < values.length; i++) if (mask[row * cols + column(i)]) values[i] = 0;
  };
}

/** Scales of all groups before the first column: of the weights as they are. */
function findAll(
  x: Float32Array,
  feedback: Feedback,
  scales: LevelFinder,
  groups: Groups,
  { granularity }: GptqScheme,
  { cols, dead }: Factor,
  without: WithoutKept,
): void {
  const values = new Float32Array(cols);
  for (let row = 0; row < x.length / cols; row++) {
    values.set(x.subarray(row * cols, (row + 1) * cols));
    // IST-DASLab's gptq.py finds scales of whole rows before it clears dead columns, those of static groups after.
    if (typeof granularity === 'object') for (let c = 0; c < cols; c++) if (dead[c]) values[c] = 0;
    without?.(values, row);
    for (let group = 0; group < groups.count; group++) {
      const level = scales.find(values, group * groups.length, row, group);
      feedback.setLevel(row, group, level);
    }
  }
}

/** Tile after tile, and inside a tile block after block: dynamic groups see the errors of finished blocks only. */
function roundAll(
  feedback: Feedback,
  scales: LevelFinder,
  groups: Groups,
  block: number,
  cols: number,
  without: WithoutKept,
): void {
  for (let j = 0; j < feedback.tiles; j++) {
    feedback.enter(j);
    const end = Math.min((j + 1) * TILE, cols);
    for (let from = j * TILE; from < end; ) {
      const to = Math.min(end, (Math.floor(from / block) + 1) * block);
      if (groups.isDynamic && from % block === 0) {
        findStarting(feedback, scales, groups, [j, from, Math.min(from + block, cols)], without);
      }
      feedback.round(j, from, to);
      from = to;
    }
  }
}

/** Scales of the groups that start in the block [from, to) of tile j. */
function findStarting(
  feedback: Feedback,
  scales: LevelFinder,
  groups: Groups,
  [j, from, to]: readonly [number, number, number],
  without: WithoutKept,
): void {
  const { length } = groups;
  const first = Math.ceil(from / length);
  const last = Math.ceil(to / length);
  if (first === last) return;
  const seen = feedback.preview(j, from, first * length, last * length); // [rows, columns of these groups]
  const width = (last - first) * length;
  for (let row = 0; row < seen.length / width; row++) {
    const values = seen.subarray(row * width, (row + 1) * width);
    without?.(values, row, first * length);
    for (let group = first; group < last; group++) {
      feedback.setLevel(row, group, scales.find(values, (group - first) * length, row, group));
    }
  }
}

/** Finds levels and keeps them in the form in which the tile stores them. */
class LevelFinder {
  /** [to - from, groups], or one value for a whole tensor. */
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
  readonly #place: TilePlace;
  readonly #scheme: GptqScheme;
  readonly #groups: Groups;
  readonly #context: ReturnType<typeof rangeContext>;
  readonly #range: ReturnType<typeof rangeOf>;
  readonly #scaler: GroupScaler;
  /** [cols], by groups: ranges tell a value's column by its place in the row. */
  readonly #row: Float32Array;
  readonly #whole: Limits | undefined;

  constructor(scheme: GptqScheme, place: TilePlace, groups: Groups, x: Float32Array, inputs: RangeInputs | undefined) {
    this.#place = place;
    this.#scheme = scheme;
    this.#groups = groups;
    this.#context = rangeContext(scheme, inputs);
    this.#range = rangeOf(scheme.range, scheme.symmetric);
    this.#scaler = new GroupScaler(this.#range, this.#context, scheme.scaleType);
    this.#row = new Float32Array(groups.length * groups.count);
    const { from, to, shape, survey } = place;
    const count = sharedCount(groups.per, { from, to, cols: shape[1] });
    this.scales = new Float32Array(count);
    this.zeros = new Float32Array(count);
    if (scheme.granularity !== 'tensor') return;
    if (!survey && to - from !== shape[0]) {
      const next = 'survey it before its tiles';
      throw new RecipeError({ what: 'one scale per tensor needs limits of the whole tensor', where: place.name, next });
    }
    this.#whole = survey ?? surveyLimits(x, scheme, inputs);
  }

  /** The level of a group whose values lie from `start` on; row and group of the tile. */
  find(values: Float32Array, start: number, row: number, group: number): Level {
    const { length, count, places } = this.#groups;
    const context = this.#context;
    const { name } = this.#place;
    const [from, to] = [group * length, (group + 1) * length];
    const run = this.#row.subarray(from, to);
    run.set(values.subarray(start, start + length));
    inComputeType(run, context, run, name);
    const limits = this.#whole ?? this.#range.limits(this.#row, from, to, context);
    this.#scaler.set(limits, () => `${name}, row ${this.#place.from + row}, group ${group}`);
    const { stored, zero } = this.#scaler;
    const at = this.#whole ? 0 : row * count + places[group]!;
    this.scales[at] = stored;
    this.zeros[at] = zero;
    return levelOf(this.#scheme, context, stored, zero);
  }
}

function levelOf(
  { symmetric }: GptqScheme,
  { grid, zero: kind, arithmetic }: ReturnType<typeof rangeContext>,
  scale: number,
  zero: number,
): Level {
  if (!symmetric && kind === 'minimum') return { scale, minimum: zero, before: 0, low: grid.qMin };
  const isInteger = symmetric || kind === 'integer';
  if (isInteger && arithmetic.zero === 'afterRounding') return { scale, minimum: 0, before: 0, low: grid.qMin - zero };
  return { scale, minimum: 0, before: zero, low: grid.qMin };
}
