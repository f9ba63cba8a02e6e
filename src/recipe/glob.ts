/**
 * Globs on tensor names: `*` any run of characters, `?` one, `[ab]` one of. Linear time: no backtracking regular expression is
 * built from user text.
 */
export function globMatch(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  let star = -1;
  let resume = 0;
  while (n < name.length) {
    const end = pattern[p] === '[' ? pattern.indexOf(']', p + 2) : -1;
    if (pattern[p] === '*') {
      star = p++;
      resume = n;
    } else if (end > 0 && pattern.slice(p + 1, end).includes(name[n]!)) {
      p = end + 1;
      n++;
    } else if (end < 0 && p < pattern.length && (pattern[p] === '?' || pattern[p] === name[n])) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
