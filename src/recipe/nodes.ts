/**
 * The plan as a graph of nodes, in an order in which they can be done:
 *
 *   survey -> write                                                       what looks at the weights alone
 *   ranges -> survey -> write                                             what looks at the loss of the whole model
 *   capture -> solve -> write -> ... -> propagate -> capture -> ...       layer by layer, what looks at activations
 *
 * A capture runs one layer on all samples and collects statistics of its linears' inputs; a solve makes of one input's Hessian what
 * error feedback needs; a propagate passes the activations on to the next layer.
 */
import type { Model, PlacedTensor } from '../format/types.ts';
import { type InputGroup, inputGroups, linearOf } from '../model/index.ts';
import { schemeSurveys } from '../quantize/kinds/encode.ts';
import { isWeightScheme } from '../quantize/scheme.ts';
import type { StatisticKind, StatisticsReader } from '../quantize/statistics.ts';
import { looksAtLoss, needsOf } from './needs.ts';
import type { Calibration } from './schema.ts';

/** Matrices that read one input, by their place in the layout. */
export interface Group extends InputGroup {
  tensors: readonly number[];
  kinds: readonly StatisticKind[];
}

export type PlanNode = { id: string; after: readonly string[] } & (
  | { kind: 'survey'; tensor: number }
  /** Ranges of these tensors by the loss of the model, one tensor after another. */
  | { kind: 'ranges'; tensors: readonly number[] }
  | { kind: 'capture'; layer: number; groups: readonly Group[] }
  | { kind: 'solve'; layer?: number; group: Group }
  | { kind: 'write'; tensor: number }
  /** Through the unquantized layer, or through what was written of it. */
  | { kind: 'propagate'; layer: number; weights: 'source' | 'output' }
);

/** Hessians that one capture collects together, in bytes: more inputs of a layer are captured one after another. */
export const CAPTURE_BYTES = 512e6;

const RANGES = 'ranges by loss';

export interface NodesRequest {
  model: Model;
  tensors: readonly PlacedTensor[];
  order: Calibration['order'];
  /** Given: nothing is captured. */
  statistics?: Pick<StatisticsReader, 'shared'>;
}

export function planNodes({ model, tensors, order, statistics }: NodesRequest): PlanNode[] {
  const nodes: PlanNode[] = [];
  const write = (tensor: number, after: string[]) =>
    nodes.push({ id: `write ${tensors[tensor]!.source}`, kind: 'write', tensor, after });
  /** What all rows agree on is found before the first is written. Returns what the write waits for. */
  const survey = (tensor: number, after: string[]): string[] => {
    const { source, scheme, from } = tensors[tensor]!;
    if (!isWeightScheme(scheme) || !schemeSurveys(scheme) || from.rows === 0) return after;
    nodes.push({ id: `survey ${source}`, kind: 'survey', tensor, after });
    return [`survey ${source}`];
  };
  const searched = [...tensors.keys()].filter((index) => looksAtLoss(tensors[index]!.scheme));
  if (searched.length > 0) nodes.push({ id: RANGES, kind: 'ranges', tensors: searched, after: [] });
  const first = (index: number) => (looksAtLoss(tensors[index]!.scheme) ? [RANGES] : []);
  for (const [index, { scheme }] of tensors.entries())
    if (needsOf(scheme).length === 0) write(index, survey(index, first(index)));
  const solve = (group: Group, after: string[], layer?: number) => {
    const id = `solve ${group.linears.join(' ')}`;
    nodes.push({ id, kind: 'solve', group, after, ...(layer !== undefined && { layer }) });
    for (const tensor of group.tensors) write(tensor, survey(tensor, [...first(tensor), id]));
  };
  if (statistics) {
    for (const group of storedGroups(tensors, statistics)) solve(group, []);
    return nodes;
  }
  const byLayer = layerGroups(model, tensors);
  const last = Math.max(-1, ...byLayer.keys());
  let before: string[] = [];
  for (let layer = 0; layer <= last; layer++) {
    const groups = byLayer.get(layer) ?? [];
    const captured: string[] = [];
    for (const together of captures(groups, order)) {
      const id = `capture ${layer} ${together.flatMap(({ linears }) => linears).join(' ')}`;
      nodes.push({ id, kind: 'capture', layer, groups: together, after: before });
      captured.push(id);
      for (const group of together) solve(group, [id], layer);
      if (order === 'sequential') before = together.flatMap(({ tensors: all }) => all.map((t) => `write ${tensors[t]!.source}`));
    }
    if (layer === last) break;
    const id = `propagate ${layer}`;
    const written = groups.flatMap(({ tensors: all }) => all.map((tensor) => `write ${tensors[tensor]!.source}`));
    const quantized = order !== 'parallel' && written.length > 0;
    nodes.push({
      id,
      kind: 'propagate',
      layer,
      weights: quantized ? 'output' : 'source',
      after: quantized ? written : captured.length ? captured : before,
    });
    before = [id];
  }
  return nodes;
}

/** The groups of each layer that something is needed of; the head is the layer after the last. */
function layerGroups({ spec }: Model, tensors: readonly PlacedTensor[]): Map<number, Group[]> {
  const needing = new Map<string, number>();
  for (const [index, { source, scheme }] of tensors.entries())
    if (needsOf(scheme).length > 0) needing.set(linearOf(source), index);
  const found = new Map<number, Group[]>();
  if (!spec || needing.size === 0) return found;
  for (let layer = 0; layer <= spec.layers; layer++) {
    const groups = inputGroups(spec, layer).flatMap(({ linears, width, residual }) => {
      const readers = linears.filter((linear) => needing.has(linear));
      if (readers.length === 0) return [];
      const indices = readers.map((linear) => needing.get(linear)!);
      return [{ ...groupOf(readers, indices, width, tensors), ...(residual && { residual }) }];
    });
    if (groups.length) found.set(layer, groups);
  }
  return found;
}

/** Linears that share statistics in the file share a solve. */
function storedGroups(tensors: readonly PlacedTensor[], statistics: Pick<StatisticsReader, 'shared'>): Group[] {
  const byInput = new Map<string, number[]>();
  for (const [index, { source, scheme }] of tensors.entries()) {
    if (needsOf(scheme).length === 0) continue;
    const input = statistics.shared(linearOf(source));
    byInput.set(input, [...(byInput.get(input) ?? []), index]);
  }
  return [...byInput.values()].map((indices) => {
    const linears = indices.map((index) => linearOf(tensors[index]!.source));
    return groupOf(linears, indices, tensors[indices[0]!]!.from.cols, tensors);
  });
}

function groupOf(linears: readonly string[], indices: readonly number[], width: number, tensors: readonly PlacedTensor[]): Group {
  const kinds = new Set(indices.flatMap((index) => needsOf(tensors[index]!.scheme)));
  return { linears, tensors: indices, width, kinds: [...kinds] };
}

/** Which groups of a layer are captured in one pass: one at a time in sequential order, else as many as memory allows. */
function captures(groups: readonly Group[], order: Calibration['order']): Group[][] {
  const passes: Group[][] = [];
  let bytes = 0;
  for (const group of groups) {
    const own = hessianBytes(group);
    const last = passes.at(-1);
    if (last && order !== 'sequential' && bytes + own <= CAPTURE_BYTES) {
      last.push(group);
      bytes += own;
    } else {
      passes.push([group]);
      bytes = own;
    }
  }
  return passes;
}

export function hessianBytes({ width, kinds }: Pick<Group, 'width' | 'kinds'>): number {
  return kinds.includes('hessian') ? 4 * width * width : 0;
}
