/**
 * Energy of arithmetic and of moving data. Weights come from DRAM once and pass the on-chip memory once (written and read); inputs are
 * read from it once for every block of `arrayRows` outputs, outputs are written once. Partial sums stay in accumulators, whose energy
 * is that of the addition. Control, clocks and leakage are not counted: these are least energies, for ratios.
 */
import { RecipeError } from '../errors.ts';
import { energy45nm } from './data/energy-45nm.ts';
import { type DecoderSize, type DecoderWork, decodeWork, type Phase } from './decoder-work.ts';
import type { EnergyTable, Operand } from './energy-table.ts';
import type { ComputeType, Precision } from './precision.ts';
import { matrixBytes } from './weights.ts';

/** Types of the factors and of the sum. A type that the table does not know has no energy here. */
const operands: Partial<Record<ComputeType, { multiply: Operand; add: Operand }>> = {
  fp32: { multiply: 'fp32', add: 'fp32' },
  fp16: { multiply: 'fp16', add: 'fp16' },
  int8: { multiply: 'int8', add: 'int32' },
};

export const energyOperations = ['multiply', 'add', 'sram', 'dram'] as const;
export type EnergyOperation = (typeof energyOperations)[number];

export interface Energy {
  picojoules: number;
  byOperation: Record<EnergyOperation, number>;
}

export interface EnergyOptions {
  table?: EnergyTable;
  /** Which end of the table's range of DRAM (least). */
  dram?: 'least' | 'most';
  /** Bytes of the on-chip memory; the table's smallest that is as large counts (its largest). */
  sramBytes?: number;
  /** Outputs that one read of an input serves (16). */
  arrayRows?: number;
}

export interface EnergyWork {
  macs: number;
  compute: ComputeType;
  dramBits: number;
  sramBits: number;
  /** Weights that are multiplied by a scale, and have a zero point or minimum added, before the product. */
  dequantized?: number;
}

/** @throws RecipeError for arithmetic that the table does not know */
export function energyOf(
  { macs, compute, dramBits, sramBits, dequantized = 0 }: EnergyWork,
  options: EnergyOptions = {},
): Energy {
  const { table = energy45nm, dram = 'least' } = options;
  const { multiply, add } = operationCost(table, 'energy', compute);
  const byOperation = {
    multiply: (macs + dequantized) * multiply,
    add: (macs + dequantized) * add,
    sram: sramBits * sramPerBit(table, options.sramBytes),
    dram: (dramBits * table.dram[dram]) / table.dram.bits,
  };
  return { picojoules: energyOperations.reduce((sum, name) => sum + byOperation[name], 0), byOperation };
}

export interface LinearShape {
  out: number;
  in: number;
  tokens: number;
}

/** A linear layer whose inputs and outputs are on the chip. */
export function layerEnergy({ out, in: width, tokens }: LinearShape, precision: Precision, options: EnergyOptions = {}): Energy {
  const { activationBits, compute, storage } = precision;
  const weightBits = 8 * matrixBytes([out, width], storage).bytes;
  const reads = tokens * width * Math.ceil(out / (options.arrayRows ?? defaultRows));
  const sramBits = 2 * weightBits + (reads + tokens * out) * activationBits;
  const dequantized = compute.startsWith('fp') && storage.bits < 16 ? out * width : 0;
  return energyOf({ macs: out * width * tokens, compute, dramBits: weightBits, sramBits, dequantized }, options);
}

/** One generated token of each sequence of a batch, divided by the batch. */
export function tokenEnergy(size: DecoderSize, precision: Precision, phase: Phase, options: EnergyOptions = {}): Energy {
  const work = decodeWork(size, precision, phase);
  const whole = energyOf(energyWork(work, precision, options), options);
  return scaled(whole, 1 / (phase.batch ?? 1));
}

const defaultRows = 16;

function energyWork(
  work: DecoderWork,
  { compute, activationBits }: Precision,
  { arrayRows = defaultRows }: EnergyOptions,
): EnergyWork {
  const { macs, dequantized } = work;
  const dramBits = 8 * (work.weightBytes + work.cacheBytes);
  return { macs, compute, dequantized, dramBits, sramBits: 2 * dramBits + (macs / arrayRows) * activationBits };
}

function scaled({ picojoules, byOperation }: Energy, by: number): Energy {
  const each = energyOperations.map((name) => [name, byOperation[name] * by] as const);
  return { picojoules: picojoules * by, byOperation: Object.fromEntries(each) as Energy['byOperation'] };
}

/** Multiply-accumulate units on a square millimetre, without anything around them. @throws RecipeError as `energyOf` */
export function macsPerSquareMillimetre(compute: ComputeType, table: EnergyTable = energy45nm): number {
  const { multiply, add } = operationCost(table, 'area', compute);
  return 1e6 / (multiply + add);
}

function operationCost(table: EnergyTable, of: 'energy' | 'area', compute: ComputeType): { multiply: number; add: number } {
  const types = operands[compute];
  const costs = table[of];
  const multiply = types && costs?.multiply[types.multiply];
  const add = types && costs?.add[types.add];
  if (multiply === undefined || add === undefined) {
    throw new RecipeError({
      what: `the table of ${table.node} has no ${of} of ${compute} arithmetic`,
      next: `choose ${Object.keys(operands).join(', ')}; weights of fewer bits can be computed with in fp16`,
    });
  }
  return { multiply, add };
}

function sramPerBit({ sram }: EnergyTable, bytes?: number): number {
  const level = (bytes === undefined ? undefined : sram.find((one) => one.bytes >= bytes)) ?? sram.at(-1)!;
  return level.picojoules / level.bits;
}
