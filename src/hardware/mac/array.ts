/** Runs a layer on the array, cycle by cycle. */
import { accumulationOf } from './accumulate.ts';
import { macSteps } from './schedule.ts';
import type { CycleKind, MacArray, MacCycle, MacLayer, MacRun } from './types.ts';

const none = new Float64Array(0);

/** Every cycle with what the array holds after it; the last value is the run. */
export function* macCycles(layer: MacLayer, array: MacArray): Generator<MacCycle, MacRun> {
  const accumulation = accumulationOf(layer, array.arithmetic);
  const { add, product, hold } = accumulation;
  const { out, in: width, tokens, weights, inputs } = layer;
  const sums = new Float64Array(tokens * out); // [tokens, out]
  const cyclesByKind: Record<CycleKind, number> = { load: 0, multiply: 0, drain: 0 };
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  let overflows = 0;
  let cycle = 0;
  const into = (place: number, sum: number): number => {
    if (sum < least) least = sum;
    if (sum > most) most = sum;
    const held = hold(sum);
    sums[place] = held;
    return held === sum || Number.isNaN(sum) ? 0 : 1;
  };
  for (let t = 0; t < tokens; t++) for (let o = 0; o < out; o++) overflows += into(t * out + o, accumulation.initial[o]!);

  for (const step of macSteps(layer, array)) {
    const { kind, index, outputs, inputs: columns } = step;
    const [from, to] = outputs;
    const [left, right] = columns;
    let products = none;
    let spilled = 0;
    if (kind === 'multiply') {
      products = new Float64Array((to - from) * (right - left));
      for (let o = from; o < to; o++) {
        let sum = 0;
        for (let i = left; i < right; i++) {
          const value = product(weights[o * width + i]!, inputs[index * width + i]!);
          products[(o - from) * (right - left) + i - left] = value;
          sum = i === left ? value : add(sum, value);
        }
        spilled += into(index * out + o, add(sums[index * out + o]!, sum));
      }
    }
    overflows += spilled;
    cyclesByKind[kind]++;
    const accumulators = kind === 'load' ? none : sums.slice(index * out + from, index * out + to);
    yield { ...step, cycle: cycle++, products, accumulators, overflows: spilled };
  }
  const macs = out * width * tokens;
  return {
    output: sums.map((sum, i) => sum + accumulation.correction(Math.floor(i / out), i % out)),
    cycles: cycle,
    cyclesByKind,
    macs,
    utilization: macs / (cycle * array.rows * array.cols),
    overflows,
    range: [least, most],
  };
}

/** The whole run. */
export function runMacArray(layer: MacLayer, array: MacArray): MacRun {
  const cycles = macCycles(layer, array);
  for (;;) {
    const { done, value } = cycles.next();
    if (done) return value;
  }
}
