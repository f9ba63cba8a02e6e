/** `fewbits hardware mac`: a layer on a multiply-accumulate array, random or given. */
import { Command, Option } from 'commander';
import { RecipeError } from '../../errors.ts';
import {
  accumulatorWidths,
  type ConvolutionShape,
  codeRange,
  convolutionLayer,
  convolutionOutput,
  type Dataflow,
  type IntegerCodes,
  type MacArithmetic,
  type MacArray,
  type MacCycle,
  type MacLayer,
  macCycles,
} from '../../hardware/index.ts';
import { floatTypes, Random } from '../../numeric/index.ts';
import { integer, withCommon } from '../options.ts';
import { type Common, printResult, table } from '../terminal.ts';

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
  convolution?: ConvolutionShape;
  trace?: boolean;
}

/** A layer that would take longer than a person waits is no example. */
const mostProducts = 2 ** 24;

export function macCommand(): Command {
  return withCommon(new Command('mac'))
    .description('a layer on a multiply-accumulate array, cycle by cycle: result, width of accumulators, cycles, utilization')
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
    .option(
      '--convolution <shape>',
      'a random convolution instead: channels x height x width x outputs x kernel, 3x8x8x4x3',
      convolution,
    )
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
  const { weights, inputs, bias, weightZero, inputZero, convolution: window } = flags;
  if ((weights === undefined) !== (inputs === undefined))
    throw new RecipeError({ what: 'weights and inputs are given together', where: '--weights, --inputs' });
  if (window && weights)
    throw new RecipeError({
      what: 'a random convolution has its own values',
      where: '--convolution',
      next: 'leave --weights out',
    });
  const shape = shapeOf(flags);
  const products = shape.out * shape.in * shape.tokens;
  if (products > mostProducts) {
    throw new RecipeError({
      what: 'too many products to step through',
      value: products,
      limit: mostProducts,
      next: 'choose a smaller layer: cycles and utilization depend on blocks only',
    });
  }
  const draw = drawing(flags);
  const rest = {
    ...(bias && { bias }),
    ...(weightZero !== 0 && { weightZero: new Array<number>(shape.out).fill(weightZero) }),
    ...(inputZero !== 0 && { inputZero }),
  };
  if (window) {
    const image = draw(window.channels * window.height * window.width, codes.inputs);
    return convolutionLayer(image, draw(shape.out * shape.in, codes.weights), window, rest);
  }
  return {
    ...shape,
    weights: weights?.flat() ?? draw(shape.out * shape.in, codes.weights),
    inputs: inputs?.flat() ?? draw(shape.tokens * shape.in, codes.inputs),
    ...rest,
  };
}

function shapeOf({ weights, inputs, convolution: window, ...flags }: MacFlags): Pick<MacLayer, 'out' | 'in' | 'tokens'> {
  if (weights && inputs) return { out: weights.length, in: weights[0]!.length, tokens: inputs.length };
  if (!window) return { out: flags.out, in: flags.in, tokens: flags.batch };
  const [rows, cols] = convolutionOutput(window);
  return { out: window.out, in: window.channels * window.kernel[0] * window.kernel[1], tokens: rows * cols };
}

/** Codes alike, or normal values of the type. */
function drawing({ arithmetic, seed }: MacFlags): (count: number, codes: IntegerCodes) => Float64Array {
  const random = new Random(seed);
  return (count, codes) => {
    const [least, most] = codeRange(codes);
    const value =
      arithmetic === 'integer'
        ? () => least + random.integer(most - least + 1)
        : () => floatTypes[arithmetic].round(random.gaussian());
    return Float64Array.from({ length: count }, value);
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

/** '3x8x8x4x3': channels, height, width, outputs, kernel. */
function convolution(text: string): ConvolutionShape {
  const sizes = text.split('x').map(Number);
  const [channels, height, width, out, kernel] = sizes;
  if (sizes.length !== 5 || !sizes.every((n) => Number.isInteger(n) && n > 0 && n < 2 ** 16))
    throw new RecipeError({
      what: 'not a convolution',
      value: text,
      next: 'write channels x height x width x outputs x kernel: 3x8x8x4x3',
    });
  return { channels: channels!, height: height!, width: width!, out: out!, kernel: [kernel!, kernel!] };
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
