/** How much there is to do of each node of a plan, roughly: what the time that is left is told from. */

import type { PlacedTensor } from '../format/types.ts';
import { layerPrefix } from '../graph/index.ts';
import { modelTensors } from '../model/index.ts';
import { searchedSamples } from '../recipe/memory.ts';
import type { Group, PlanNode } from '../recipe/nodes.ts';
import type { Plan } from '../recipe/plan.ts';
import { elements } from '../tensor/tensor.ts';

/** In operations of ONNX Runtime's products, of which one core of the solver does about an eighth in the same time. */
export interface Work {
  /** By tensor of the layout. */
  tensors: readonly number[];
  /** By the id of a node that is no write: passes through a layer, solves. */
  nodes: ReadonlyMap<string, number>;
}

const SOLVER_COST = 8;
/** Trials of a tensor, each through half of the layers, with two operations a weight. */
const TRIALS = 3;
/** Rounding of a value to nearest: reading, scales, packing, and reading back. */
const NEAREST_COST = 300;

export function workOf({ model, layout, nodes, calibration }: Plan): Work {
  const tokens = calibration?.tokens ?? 0;
  const walks = calibration?.correct && calibration.order !== 'parallel' ? 2 : 1;
  const all = model.spec ? modelTensors(model.spec) : [];
  const tokensOfTrial = calibration && model.spec ? searchedSamples(model.spec, calibration) * calibration.context : 0;
  const layer = (index: number) => {
    const prefix = layerPrefix(index);
    return all.reduce((sum, { name, shape }) => sum + (name.startsWith(prefix) ? elements(shape) : 0), 0);
  };
  const cost = (node: PlanNode): number => {
    switch (node.kind) {
      case 'capture':
        return 2 * tokens * walks * (layer(node.layer) + sum(node.groups, ({ width }) => width * width));
      case 'propagate':
        return 2 * tokens * walks * layer(node.layer);
      case 'solve':
        return node.group.kinds.includes('hessian') ? SOLVER_COST * node.group.width ** 3 : 0;
      case 'ranges':
        return TRIALS * node.tensors.length * tokensOfTrial * all.reduce((total, { shape }) => total + elements(shape), 0);
      default:
        return 0;
    }
  };
  return { tensors: layout.tensors.map(writing), nodes: new Map(nodes.map((node) => [node.id, cost(node)])) };
}

function writing({ scheme, from: { rows, cols } }: PlacedTensor): number {
  const rounding = scheme.kind === 'keep' ? undefined : scheme.rounding;
  return rows * cols * (NEAREST_COST + (rounding ? SOLVER_COST * cols * (2 + 2 * rounding.refine) : 0));
}

function sum(groups: readonly Group[], of: (group: Group) => number): number {
  return groups.reduce((total, group) => total + of(group), 0);
}
