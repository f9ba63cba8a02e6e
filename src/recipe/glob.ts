/**
 * Globs on tensor names: `*` any run of characters, `?` one, `[ab]` one of. Only the last `*` is ever tried again, so that a match
 * takes at most name x pattern steps: no backtracking regular expression is built from user text (CWE-1333).
 */
export function globMatch(pattern: string, name: string): boolean {
  const steps = stepsOf(pattern);
  let s = 0;
  let n = 0;
  let star = -1;
  let resume = 0;
  while (n < name.length) {
    const step = steps[s];
    if (step === '*') {
      star = s++;
      resume = n;
    } else if (step !== undefined && (step === '?' || step.slice(1).includes(name[n]!))) {
      s++;
      n++;
    } else if (star >= 0) {
      s = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (steps[s] === '*') s++;
  return s === steps.length;
}

/** '*', '?', or '=' and the characters that may stand here. A '[' without its ']' stands for itself. */
function stepsOf(pattern: string): string[] {
  const steps: string[] = [];
  for (let p = 0; p < pattern.length; p++) {
    const character = pattern[p]!;
    const end = character === '[' ? pattern.indexOf(']', p + 2) : -1;
    if (end > 0) {
      steps.push(`=${pattern.slice(p + 1, end)}`);
      p = end;
    } else if (character !== '*') {
      steps.push(character === '?' ? '?' : `=${character}`);
    } else if (steps.at(-1) !== '*') {
      steps.push('*');
    }
  }
  return steps;
}
