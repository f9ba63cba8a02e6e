/**
 * What each range of integer grids costs on the default model: error of the weights, error of the layers' outputs on real inputs,
 * and KL of the model. Every other axis is the same: 4 bits, groups of 64, f16 scales, round to nearest.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { compare } from 'fewbits/evaluate';
import { open } from 'fewbits/format';
import { buildModel, createSession, type Graph, loadLanguageModel, positionFeeds, type WeightReader } from 'fewbits/graph';
import { type MatrixScheme, quantizeMatrix, type RangeName } from 'fewbits/quantize';
import { weightReader } from 'fewbits/run';
import type { Json } from '../interop/cli.ts';
import { root } from '../interop/project.ts';
import { fixed, progress, publish } from './results.ts';

const bits = 4;
const group = 64;
const context = 256;
/** Windows of text whose inputs are measured: 2,048 tokens. */
const windows = 8;
const textBytes = 30_000;

const setups: readonly (readonly [range: RangeName, symmetric: boolean])[] = [
  ['absmax-narrow', true],
  ['absmax-full', true],
  ['absmax-half', true],
  ...(['percentile', 'mse', 'imatrix', 'output-mse'] as const).map((range) => [range, true] as const),
  ['minmax', false],
  ...(['percentile', 'mse', 'imatrix', 'output-mse'] as const).map((range) => [range, false] as const),
];

interface Row {
  range: string;
  symmetric: boolean;
  sqnr: number;
  outputSqnr: number;
  kl: number;
}

export async function benchRanges(): Promise<void> {
  const model = await open(path.join(root, 'models', 'tinystories-3.7m'));
  const spec = model.spec!;
  const read = weightReader(model);
  const tokenizer = await model.tokenizer();
  const text = (name: string, bytes: number) =>
    new TextDecoder().decode(readFileSync(path.join(root, 'models', 'text', name)).subarray(0, bytes));
  progress('inputs of all linear layers');
  const ids = Int32Array.from(tokenizer.encode(text('tinystories.train.txt', 60_000)).slice(0, windows * context));
  const hessians = await hessiansOf(buildModel(spec, { outputs: ['logits'] }), read, {
    ids: { type: 'i64', dims: [windows, context], data: BigInt64Array.from(ids, BigInt) },
    ...positionFeeds(spec, 0, context),
  });
  const reference = await loadLanguageModel(spec, read, { threads: 1 });
  let outputSignal = 0;
  for (const [name, { hessian, cols }] of hessians) outputSignal += outputPower(await read(`${name}.weight`), hessian, cols);
  const rows: Row[] = [];
  for (const [range, symmetric] of setups) {
    progress(`${range}, ${symmetric ? 'symmetric' : 'asymmetric'}`);
    const scheme = schemeOf(range, symmetric);
    const tally = { signal: 0, noise: 0, outputNoise: 0 };
    const quantized = new Map<string, Float32Array>();
    for (const [name, { hessian, cols }] of hessians) {
      const w = await read(`${name}.weight`);
      const meansquare = Float32Array.from({ length: cols }, (_, c) => hessian[c * cols + c]!);
      const statistics = { meansquare, hessian };
      const decoded = quantizeMatrix(w, [w.length / cols, cols], scheme, { name, statistics }).dequantized();
      const difference = w.map((x, i) => x - decoded[i]!);
      tally.signal += w.reduce((sum, x) => sum + x * x, 0);
      tally.noise += difference.reduce((sum, x) => sum + x * x, 0);
      tally.outputNoise += outputPower(difference, hessian, cols);
      quantized.set(`${name}.weight`, decoded);
    }
    const reader: WeightReader = async (name) => quantized.get(name) ?? read(name);
    const other = await loadLanguageModel(spec, reader, { threads: 1 });
    const options = { protocol: 'strided', context } as const;
    const { models } = await compare(reference, [other], tokenizer, text('tinystories.valid.txt', textBytes), options);
    await other.close();
    const decibel = (signal: number, noise: number) => 10 * Math.log10(signal / noise);
    rows.push({
      range,
      symmetric,
      sqnr: decibel(tally.signal, tally.noise),
      outputSqnr: decibel(outputSignal, tally.outputNoise),
      kl: models[0]!.kl.mean,
    });
  }
  await reference.close();
  await model.close();
  publish({
    name: 'ranges',
    title: `What each range costs (default model, ${bits} bits, groups of ${group}, f16 scales, round to nearest)`,
    setting: {
      group,
      inputs: windows * context,
      text: 'models/text/tinystories.valid.txt',
      textBytes,
      protocol: 'strided',
      context,
    },
    rows: rows as unknown as Json[],
    header: ['range', 'grid', 'weights dB', 'outputs dB', 'KL mean'],
    cells: rows.map((r) => [r.range, r.symmetric ? 'sym' : 'asym', fixed(r.sqnr), fixed(r.outputSqnr), r.kl.toPrecision(3)]),
  });
}

/** Clipping symmetric ranges start from absmax-half, whose codes reach both extremes. */
function schemeOf(range: RangeName, symmetric: boolean): MatrixScheme {
  const rangeOptions = symmetric ? ({ base: 'absmax-half' } as const) : {};
  return { kind: 'integer', bits, symmetric, granularity: { group }, range, rangeOptions, scaleType: 'f16' };
}

interface InputHessian {
  cols: number;
  /** (1 / n) Σ x x', [cols, cols]. */
  hessian: Float32Array;
}

/** The Hessian of the input of each linear layer by its name; linears with one input share it. */
async function hessiansOf(
  graph: Graph,
  read: WeightReader,
  feeds: Parameters<Awaited<ReturnType<typeof createSession>>['run']>[0],
): Promise<Map<string, InputHessian>> {
  const linears = graph.nodes.filter(({ op, name }) => op === 'MatMul' && name.endsWith('_proj'));
  const shown = [...new Set(linears.map(({ inputs }) => inputs[0]!))];
  const outputs = shown.map((name) => ({ name, type: 'f32' as const, dims: ['B', 'T', 'C'] }));
  const session = await createSession({ ...graph, outputs });
  const weights = graph.inputs.filter(({ weight }) => weight);
  const fed = { ...feeds };
  for (const { name, dims } of weights) fed[name] = { type: 'f32', dims: dims.map(Number), data: await read(name) };
  const found = await session.run(fed);
  await session.close();
  const byInput = new Map(
    shown.map((name) => {
      const { data, dims } = found[name]!;
      const cols = dims[2]!;
      return [name, { cols, hessian: secondMoments(data as Float32Array, cols) }] as const;
    }),
  );
  return new Map(linears.map(({ name, inputs }) => [name, byInput.get(inputs[0]!)!]));
}

function secondMoments(x: Float32Array, cols: number): Float32Array {
  const sums = new Float64Array(cols * cols);
  for (let at = 0; at < x.length; at += cols) {
    for (let i = 0; i < cols; i++) {
      const xi = x[at + i]!;
      for (let j = 0; j <= i; j++) sums[i * cols + j]! += xi * x[at + j]!;
    }
  }
  const tokens = x.length / cols;
  return Float32Array.from(sums, (_, k) => {
    const [i, j] = [Math.floor(k / cols), k % cols];
    return sums[Math.max(i, j) * cols + Math.min(i, j)]! / tokens;
  });
}

/** Σ w H w' over the rows of w [rows, cols]. */
function outputPower(w: Float32Array, hessian: Float32Array, cols: number): number {
  let sum = 0;
  for (let at = 0; at < w.length; at += cols) {
    for (let i = 0; i < cols; i++) {
      let product = 0;
      for (let j = 0; j < cols; j++) product += hessian[i * cols + j]! * w[at + j]!;
      sum += product * w[at + i]!;
    }
  }
  return sum;
}
