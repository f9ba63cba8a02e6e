/** `fewbits hardware mac`: a layer on a multiply-accumulate array, random or given. */
import { Command, Option } from 'commander';
import { RecipeError } from '../errors.ts';
import {
  accumulatorWidths,
  codeRange,
  type Dataflow,
  type IntegerCodes,
  type MacArithmetic,
  type MacArray,
  type MacCycle,
  type MacLayer,
  macCycles,
} from '../hardware/index.ts';
import { floatTypes, Random } from '../numeric/index.ts';
import { integer } from './options.ts';
import { type Common, printResult, table } from './terminal.ts';

interface MacFlags extends Common {
  in: number;
  out: number;
  batch: number;
  rows: number;
  cols: number;
  bits: number;
  activationBits: number;
  unsigned?: boolean;
  accumulatorBits: number;
  overflow: 'wrap' | 'saturate';
  dataflow: Dataflow;
  arithmetic: 'integer' | 'f32' | 'f16' | 'bf16';
  doubleBuffered?: boolean;
  weights?: number[][];
  inputs?: number[][];
  bias?: number[];
  weightZero: number;
  inputZero: number;
  seed: number;
  trace?: boolean;
}

/** A layer that would take longer than a person waits is no example. */
const mostProducts = 2 ** 24;

export function macCommand(): Command {
  return new Command('mac')
    .description('a layer on a multiply-accumulate array, cycle by cycle: result, width of accumulators, cycles, utilization')
    .option('--json', 'one JSON document on stdout and nothing else there')
    .option('--debug', 'show the stack of an error')
    .option('--in <n>', 'inputs of a random layer', integer(1), 16)
    .option('--out <n>', 'outputs of a random layer', integer(1), 8)
    .option('--batch <n>', 'tokens that pass', integer(1), 4)
    .option('--rows <n>', 'accumulators of the array: outputs a cycle', integer(1), 4)
    .option('--cols <n>', 'processing elements of each: inputs a cycle', integer(1), 4)
    .option('--bits <b>', 'bits of signed weights', integer(1, 24), 8)
    .option('--activation-bits <b>', 'bits of inputs', integer(1, 24), 8)
    .option('--unsigned', 'inputs are unsigned')
    .option('--accumulator-bits <b>', 'width of an accumulator', integer(2, 52), 32)
    .addOption(new Option('--overflow <how>', 'of an accumulator').choices(['wrap', 'saturate']).default('wrap'))
    .addOption(new Option('--dataflow <what>', 'what stays in the array').choices(['weight', 'output']).default('weight'))
    .addOption(
      new Option('--arithmetic <type>', 'of products and sums').choices(['integer', 'f32', 'f16', 'bf16']).default('integer'),
    )
    .option('--double-buffered', 'weights are loaded while the array multiplies')
    .option('--weights <json>', '[[1, 2], [3, 4]]: rows are outputs', matrix)
    .option('--inputs <json>', '[[5, 6]]: rows are tokens', matrix)
    .option('--bias <json>', '[10, 20], at the scale of the products', vector)
    .option('--weight-zero <z>', 'zero point of all weights', integer(-(2 ** 23), 2 ** 23), 0)
    .option('--input-zero <z>', 'zero point of inputs', integer(-(2 ** 23), 2 ** 23), 0)
    .option('--seed <n>', 'of a random layer', integer(0), 0)
    .option('--trace', 'every cycle')
    .action((flags: MacFlags) => {
      const { codes, arithmetic } = arithmeticOf(flags);
      const layer = layerOf(flags, codes);
      const { rows, cols, dataflow, doubleBuffered = false } = flags;
      const array: MacArray = { rows, cols, dataflow, doubleBuffered, arithmetic };
      const trace: MacCycle[] = [];
      const cycles = macCycles(layer, array);
      let step = cycles.next();
      for (; !step.done; step = cycles.next()) if (flags.trace) trace.push(step.value);
      const run = step.value;
      const widths = arithmetic.kind === 'integer' ? accumulatorWidths(layer, arithmetic, run) : undefined;
      const document = {
        output: rowsOf(run.output, layer.tokens),
        accumulatorBits: widths?.worstCase ?? floatTypes[flags.arithmetic as keyof typeof floatTypes].bits,
        ...(widths && { accumulatorBitsForWeights: widths.weights, accumulatorBitsForData: widths.data }),
        cycles: run.cycles,
        utilization: run.utilization,
        cyclesByKind: run.cyclesByKind,
        macs: run.macs,
        overflows: run.overflows,
        ...(flags.trace && { trace: trace.map(plain) }),
        warnings: run.overflows > 0 ? [`${run.overflows} sums did not fit ${flags.accumulatorBits} bits`] : [],
      };
      printResult(flags, document, () => [...(flags.trace ? [traceText(trace)] : []), macText(document, flags)].join('\n'));
    });
}

function arithmeticOf(flags: MacFlags): { codes: { weights: IntegerCodes; inputs: IntegerCodes }; arithmetic: MacArithmetic } {
  const { bits, activationBits, accumulatorBits, overflow, arithmetic } = flags;
  const codes = { weights: { bits, signed: true }, inputs: { bits: activationBits, signed: !flags.unsigned } };
  if (arithmetic === 'integer') return { codes, arithmetic: { kind: 'integer', ...codes, accumulatorBits, overflow } };
  return { codes, arithmetic: { kind: 'float', operands: arithmetic, accumulator: arithmetic } };
}

function layerOf(flags: MacFlags, codes: { weights: IntegerCodes; inputs: IntegerCodes }): MacLayer {
  const { weights: w, inputs: x, bias, weightZero, inputZero, seed } = flags;
  if ((w === undefined) !== (x === undefined))
    throw new RecipeError({ what: 'weights and inputs are given together', where: '--weights, --inputs' });
  const shape =
    w && x ? { out: w.length, in: w[0]!.length, tokens: x.length } : { out: flags.out, in: flags.in, tokens: flags.batch };
  if (shape.out * shape.in * shape.tokens > mostProducts) {
    throw new RecipeError({
      what: 'too many products to step through',
      value: shape.out * shape.in * shape.tokens,
      limit: mostProducts,
      next: 'choose a smaller layer: cycles and utilization depend on blocks only',
    });
  }
  const random = new Random(seed);
  const draw = (count: number, kind: IntegerCodes) => {
    if (flags.arithmetic !== 'integer')
      return Float64Array.from({ length: count }, () =>
        floatTypes[flags.arithmetic as keyof typeof floatTypes].round(random.gaussian()),
      );
    const [least, most] = codeRange(kind);
    return Float64Array.from({ length: count }, () => least + random.integer(most - least + 1));
  };
  return {
    ...shape,
    weights: w ? w.flat() : draw(shape.out * shape.in, codes.weights),
    inputs: x ? x.flat() : draw(shape.tokens * shape.in, codes.inputs),
    ...(bias && { bias }),
    ...(weightZero !== 0 && { weightZero: new Array<number>(shape.out).fill(weightZero) }),
    ...(inputZero !== 0 && { inputZero }),
  };
}

function macText(
  document: {
    output: number[][];
    accumulatorBits: number;
    cycles: number;
    utilization: number;
    overflows: number;
    macs: number;
  } & {
    accumulatorBitsForWeights?: number;
    accumulatorBitsForData?: number | undefined;
  },
  { rows, cols }: MacFlags,
): string {
  const { output, accumulatorBits, accumulatorBitsForWeights: weights, accumulatorBitsForData: data } = document;
  return [
    ...output.slice(0, 8).map((row, token) => `token ${token}: ${row.slice(0, 12).join(' ')}${row.length > 12 ? ' ...' : ''}`),
    `${document.macs} multiply-accumulates in ${document.cycles} cycles on ${rows} x ${cols} elements: ${(100 * document.utilization).toFixed(1)} % of them busy`,
    weights === undefined
      ? `accumulators of ${accumulatorBits} bits`
      : `smallest safe accumulator: ${accumulatorBits} bits for any codes, ${weights} for these weights, ${data} for these inputs; ${document.overflows} sums overflowed`,
  ].join('\n');
}

function traceText(trace: readonly MacCycle[]): string {
  return table(
    ['cycle', '', 'outputs', 'inputs', 'token', 'accumulators'],
    trace.map(({ cycle, kind, outputs, inputs, index, accumulators }) => [
      cycle,
      kind,
      outputs.join('-'),
      inputs.join('-'),
      kind === 'load' ? '' : index,
      Array.from(accumulators).join(' '),
    ]),
    [0],
  );
}

function plain(cycle: MacCycle): object {
  return { ...cycle, products: Array.from(cycle.products), accumulators: Array.from(cycle.accumulators) };
}

function rowsOf(values: Float64Array, rows: number): number[][] {
  const cols = values.length / rows;
  return Array.from({ length: rows }, (_, row) => Array.from(values.subarray(row * cols, (row + 1) * cols)));
}

function vector(text: string): number[] {
  const value = parsed(text);
  if (Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'number')) return value;
  throw new RecipeError({ what: 'not a list of numbers', value: text, next: 'write [1, 2]' });
}

function matrix(text: string): number[][] {
  const value = parsed(text);
  const isRow = (row: unknown): row is number[] =>
    Array.isArray(row) && row.length > 0 && row.every((one) => typeof one === 'number');
  if (Array.isArray(value) && value.length > 0 && value.every((row) => isRow(row) && row.length === value[0].length))
    return value;
  throw new RecipeError({ what: 'not a matrix', value: text, next: 'write [[1, 2], [3, 4]]' });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new RecipeError({ what: 'not JSON', value: text });
  }
}
