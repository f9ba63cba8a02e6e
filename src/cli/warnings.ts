import type { Plan } from '../recipe/index.ts';

/** Warnings for people: one line for all tensors of which the same is said. The documents keep a line for each. */
export function groupWarnings({ warnings, tensors }: Pick<Plan, 'warnings' | 'tensors'>): string[] {
  const names = new Set(tensors.flatMap(({ name, source }) => [name, source]));
  const groups = new Map<string, string[]>();
  for (const warning of warnings) {
    const colon = warning.indexOf(': ');
    const name = warning.slice(0, Math.max(0, colon));
    const said = names.has(name) ? warning.slice(colon + 2) : warning;
    groups.set(said, [...(groups.get(said) ?? []), ...(names.has(name) ? [name] : [])]);
  }
  return [...groups].map(([said, of]) => {
    if (of.length === 0) return said;
    return of.length === 1 ? `${of[0]}: ${said}` : `${of.length} tensors (${of[0]} ... ${of.at(-1)}): ${said}`;
  });
}
