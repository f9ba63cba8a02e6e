/** Which block of the matrix is where in which cycle. */
import { checkCount } from '../storage.ts';
import type { CycleKind, Dataflow, MacArray, MacLayer, MacStep } from './types.ts';

type Shape = Pick<MacLayer, 'out' | 'in' | 'tokens'>;
type Form = Pick<MacArray, 'rows' | 'cols' | 'dataflow' | 'doubleBuffered'>;

/** Weights arrive one row of processing elements a cycle; sums leave all rows at once. */
export function macSteps(shape: Shape, form: Form): Generator<MacStep> {
  for (const [name, value] of Object.entries({
    out: shape.out,
    in: shape.in,
    tokens: shape.tokens,
    rows: form.rows,
    cols: form.cols,
  }))
    checkCount(name, value);
  return schedules[form.dataflow](shape, form);
}

/** Cycles of a layer without running it. */
export function countCycles(shape: Shape, form: Form): Record<CycleKind, number> & { all: number; utilization: number } {
  const count = { load: 0, multiply: 0, drain: 0 };
  const { out, tokens } = shape;
  const inputBlocks = Math.ceil(shape.in / form.cols);
  const heights = blocks(out, form.rows).map(([from, to]) => to - from);
  count.multiply = heights.length * inputBlocks * tokens;
  count.drain = form.doubleBuffered ? lastDrains[form.dataflow](tokens) : heights.length * tokens;
  if (form.dataflow === 'weight') {
    // A tile's load hides behind the multiplications of the tile before it, as far as these last.
    const tiles = heights.flatMap((height) => new Array<number>(inputBlocks).fill(height));
    tiles.forEach((height, i) => {
      count.load += form.doubleBuffered && i > 0 ? Math.max(0, height - tokens) : height;
    });
  }
  const all = count.load + count.multiply + count.drain;
  return { ...count, all, utilization: (out * shape.in * tokens) / (all * form.rows * form.cols) };
}

/** With second buffers only the last sums are not hidden behind multiplications. */
const lastDrains: Record<Dataflow, (tokens: number) => number> = { weight: (tokens) => tokens, output: () => 1 };

const schedules: Record<Dataflow, (shape: Shape, form: Form) => Generator<MacStep>> = {
  *weight({ out, in: width, tokens }, { rows, cols, doubleBuffered = false }) {
    let first = true;
    for (const outputs of blocks(out, rows)) {
      for (const inputs of blocks(width, cols)) {
        const hidden = doubleBuffered && !first ? tokens : 0;
        for (let row = hidden; row < outputs[1] - outputs[0]; row++) yield { kind: 'load', outputs, inputs, index: row };
        for (let index = 0; index < tokens; index++) yield { kind: 'multiply', outputs, inputs, index };
        first = false;
      }
      if (doubleBuffered && outputs[1] < out) continue;
      for (let index = 0; index < tokens; index++) yield { kind: 'drain', outputs, inputs: [0, width], index };
    }
  },
  *output({ out, in: width, tokens }, { rows, cols, doubleBuffered = false }) {
    for (const outputs of blocks(out, rows)) {
      for (let index = 0; index < tokens; index++) {
        for (const inputs of blocks(width, cols)) yield { kind: 'multiply', outputs, inputs, index };
        const last = outputs[1] === out && index === tokens - 1;
        if (!doubleBuffered || last) yield { kind: 'drain', outputs, inputs: [0, width], index };
      }
    }
  },
};

function blocks(length: number, size: number): [from: number, to: number][] {
  return Array.from({ length: Math.ceil(length / size) }, (_, i) => [i * size, Math.min(length, (i + 1) * size)]);
}
