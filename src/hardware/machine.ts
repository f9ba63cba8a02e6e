/** A machine as the roofline sees it. Rows of public data are in data/machines.ts; a probe of a real one makes the same row. */
import { RecipeError } from '../errors.ts';
import { machines } from './data/machines.ts';
import type { ComputeType } from './precision.ts';

export const machineKinds = ['cpu', 'gpu', 'tpu', 'npu', 'phone'] as const;
export type MachineKind = (typeof machineKinds)[number];

export interface Machine {
  /** 'ryzen-7950x' */
  name: string;
  title: string;
  kind: MachineKind;
  /** Dense operations a second (a multiply-accumulate is two), by type. */
  rates: Partial<Record<ComputeType, number>>;
  /** Bytes a second from memory. */
  bandwidth: number;
  /** Bytes; left out where it depends on the device. */
  memory?: number;
  /** Data sheet, or how it was measured. */
  source: string;
  /** Of the source, or of the measurement: '2022-09'. */
  date: string;
  /** What was computed from the source, and how. */
  note?: string;
  /** Measured by a probe, not published. */
  measured?: boolean;
}

/** By its name, or a part of it that only one has: 'h100'. @throws RecipeError naming those that there are */
export function machineNamed(name: string): Machine {
  const asked = name
    .trim()
    .toLowerCase()
    .replace(/[\s_]+/g, '-');
  const [found, ...others] = machines.filter((machine) => machine.name.includes(asked));
  const exact = machines.find((machine) => machine.name === asked);
  if (exact ?? (asked !== '' && found && others.length === 0)) return exact ?? found!;
  const known = machines.map((machine) => machine.name).join(', ');
  throw new RecipeError({ what: 'no such machine', value: name, next: `choose one of ${known}, or give --bandwidth and --rate` });
}

/** Where a machine has no rate of a type, a wider type does the work. */
const wider: Partial<Record<ComputeType, ComputeType>> = { int4: 'int8', int8: 'fp16', fp8: 'fp16', fp16: 'fp32' };

/** @throws RecipeError where neither the type nor a wider one has a rate */
export function rateOf(machine: Machine, compute: ComputeType): { compute: ComputeType; rate: number } {
  for (let type: ComputeType | undefined = compute; type; type = wider[type]) {
    const rate = machine.rates[type];
    if (rate !== undefined) return { compute: type, rate };
  }
  throw new RecipeError({
    what: `${machine.title} has no published rate of ${compute} or wider`,
    limit: Object.keys(machine.rates).join(', '),
    next: 'choose another precision',
  });
}
