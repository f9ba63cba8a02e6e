/**
 * Whether rows divide into groups and a container holds the grids that are wanted; and if not, what would work: every piece of
 * advice is tried on all tensors before it is given.
 */
import { RecipeError } from '../errors.ts';
import { containers } from '../format/registry.ts';
import type { Container, WeightTensor } from '../format/types.ts';
import { kindOf } from '../quantize/kinds/registry.ts';
import { isWeightScheme, type Scheme, schemeLabel, type WeightScheme } from '../quantize/scheme.ts';
import { asMatrix } from '../tensor/tensor.ts';
import { globMatch } from './glob.ts';

interface Gridded {
  tensor: WeightTensor;
  scheme: WeightScheme;
}

interface Misfit {
  what: string;
  value?: string;
}

/** @throws RecipeError for the first tensor that does not fit, with how many others do not and what fits all of them */
export function checkGrids(schemes: readonly { tensor: WeightTensor; scheme: Scheme }[], container: Container): void {
  const grids = schemes.flatMap(({ tensor, scheme }) => (isWeightScheme(scheme) ? [{ tensor, scheme }] : []));
  const failing = misfits(grids, container);
  const [first] = failing;
  if (!first) return;
  const { what, value } = misfit(first, container)!;
  const others = failing.length - 1;
  throw new RecipeError({
    what,
    where: first.tensor.name + (others > 0 ? ` and ${others} more of ${grids.length} tensors` : ''),
    ...(value !== undefined && { value }),
    next: `use ${advice(grids, failing, container).join(', or ')}`,
  });
}

function misfit({ tensor, scheme }: Gridded, container: Container): Misfit | undefined {
  const { cols } = asMatrix(tensor.shape);
  const run = kindOf(scheme).run(scheme);
  if (cols % run !== 0) return { what: 'rows do not divide into groups', value: `${cols} columns in groups of ${run}` };
  const reason = container.refuses(scheme, tensor.shape);
  return reason === undefined ? undefined : { what: `${container.name} cannot hold ${schemeLabel(scheme)}: ${reason}` };
}

function misfits(grids: readonly Gridded[], container: Container): Gridded[] {
  return grids.filter((one) => misfit(one, container) !== undefined);
}

/** Scales of smaller groups take as much room as their codes. */
const SMALLEST_GROUP = 8;

function advice(grids: readonly Gridded[], failing: readonly Gridded[], container: Container): string[] {
  const groups = divisors(failing);
  const left = (group: number, by = container) => misfits(grids.map(regrouped(group)), by);
  const clean = groups.filter((group) => left(group).length === 0).slice(0, 2);
  if (left(-1).length === 0) clean.push(-1);
  const found = clean.length > 0 ? [`--group ${clean.map(groupText).join(' or ')}`] : [];
  const kept = keepOf(failing, grids);
  if (kept) found.push(kept);
  if (found.length === 0) {
    const partly = groups.map((group) => ({ group, kept: keepOf(left(group), grids) })).find((one) => one.kept);
    if (partly) found.push(`--group ${partly.group} with ${partly.kept}`);
  }
  const { fewbits } = containers;
  if (container === fewbits) return found.length > 0 ? found : ['another scheme for these tensors'];
  if (misfits(grids, fewbits).length === 0) return [...found, '--to fewbits'];
  const ours = clean.length > 0 ? undefined : [...groups, -1].find((group) => left(group, fewbits).length === 0);
  return ours === undefined ? found : [...found, `--to fewbits with --group ${groupText(ours)}`];
}

const groupText = (group: number) => (group === -1 ? '-1 (the row)' : `${group}`);

/** The same with another group, where it has groups. */
function regrouped(group: number): (one: Gridded) => Gridded {
  return ({ tensor, scheme }) => {
    const granularity = group === -1 ? 'channel' : { group };
    return { tensor, scheme: groupOf(scheme) > 0 ? ({ ...scheme, granularity } as WeightScheme) : scheme };
  };
}

/** Of a scheme whose group can be chosen; 0 where it has none. */
function groupOf(scheme: WeightScheme): number {
  return 'granularity' in scheme && typeof scheme.granularity === 'object' ? scheme.granularity.group : 0;
}

/** Groups smaller than the one asked for that divide the rows of at least one tensor, largest first. */
function divisors(failing: readonly Gridded[]): number[] {
  const most = Math.max(0, ...failing.map(({ scheme }) => groupOf(scheme)));
  const columns = [...new Set(failing.map(({ tensor }) => asMatrix(tensor.shape).cols))];
  const groups = Array.from({ length: Math.max(0, most - SMALLEST_GROUP + 1) }, (_, i) => most - i);
  return groups.filter((group) => columns.some((cols) => cols % group === 0));
}

/** `--keep` for these tensors: one glob where there is one that spares all others. */
function keepOf(failing: readonly Gridded[], grids: readonly Gridded[]): string | undefined {
  if (failing.length === 0 || failing.length === grids.length) return undefined;
  const names = failing.map(({ tensor }) => tensor.name);
  const others = grids.map(({ tensor }) => tensor.name).filter((name) => !names.includes(name));
  const globs = [...new Set(names.map((name) => name.replace(/\.\d+\./g, '.*.')))];
  const common = names[0]!
    .split('.')
    .filter((part) => !/^\d+$/.test(part) && names.every((name) => name.split('.').includes(part)));
  const whole = [...globs, ...common.map((part) => `*.${part}.*`)].find(
    (glob) => names.every((name) => globMatch(glob, name)) && !others.some((name) => globMatch(glob, name)),
  );
  if (names.length === 1) return `--keep '${names[0]}'`;
  return (whole === undefined ? globs : [whole]).map((glob) => `--keep '${glob}'`).join(' ');
}
