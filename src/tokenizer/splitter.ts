/** A run of a text: a special token, or what stands between two of them. */
export interface Run {
  text: string;
  special: boolean;
}

interface Node {
  next: Map<number, Node>;
  /** A token ends here. */
  end: boolean;
}

/**
 * Makes the function that cuts a text at special tokens: the leftmost first, of those that begin together the longest.
 * A trie keeps the time at text times longest token, whatever the number of tokens.
 */
export function splitterAt(special: Iterable<string>): (text: string) => Run[] {
  const root: Node = { next: new Map(), end: false };
  for (const token of special) {
    let node = root;
    for (let i = 0; i < token.length; i++) {
      const unit = token.charCodeAt(i);
      let child = node.next.get(unit);
      if (!child) {
        child = { next: new Map(), end: false };
        node.next.set(unit, child);
      }
      node = child;
    }
    node.end = token !== '';
  }

  /** Where the longest token that begins at `at` ends, or `at`. */
  const match = (text: string, at: number): number => {
    let end = at;
    let node: Node | undefined = root;
    for (let i = at; i < text.length; i++) {
      node = node.next.get(text.charCodeAt(i));
      if (!node) break;
      if (node.end) end = i + 1;
    }
    return end;
  };

  return (text) => {
    const runs: Run[] = [];
    let start = 0;
    for (let at = 0; at < text.length; ) {
      const end = match(text, at);
      if (end === at) {
        at++;
        continue;
      }
      if (at > start) runs.push({ text: text.slice(start, at), special: false });
      runs.push({ text: text.slice(at, end), special: true });
      start = at = end;
    }
    if (start < text.length) runs.push({ text: text.slice(start), special: false });
    return runs;
  };
}
