/**
 * SentencePiece BPE as llama.cpp runs it (`llm_tokenizer_spm`): characters are merged pair by pair, always the pair whose
 * union has the highest score, the leftmost of equals; what stays outside the vocabulary is spelled in bytes.
 * transformers' fast Llama tokenizer gives the same ids: its merges are sorted by the same scores.
 */
import { SPACE_MARK, utf8 } from './bytes.ts';

export interface SpmVocabulary {
  /** Token text to id. */
  ids: ReadonlyMap<string, number>;
  /** [vocabulary] */
  scores: Float32Array;
  /** [256] the id that spells a byte, -1 where there is none. */
  bytes: Int32Array;
  /** Stands for bytes that cannot be spelled. */
  unknown: number;
}

/** Words repeat; the cache keeps the ids of this many. */
const CACHE = 20_000;

/**
 * Makes the function that turns a text, with space marks for its spaces, into ids.
 * Where no token has a mark after another character, words are merged on their own, which gives the same ids.
 */
export function spmEncoder(vocabulary: SpmVocabulary): (marked: string) => number[] {
  const crossing = new RegExp(`[^${SPACE_MARK}]${SPACE_MARK}`);
  let independent = true;
  for (const token of vocabulary.ids.keys()) {
    if (token.lastIndexOf(SPACE_MARK) > 0 && crossing.test(token)) {
      independent = false;
      break;
    }
  }
  if (!independent) return (marked) => mergeWord(vocabulary, marked);

  const words = new RegExp(`${SPACE_MARK}*[^${SPACE_MARK}]+|${SPACE_MARK}+`, 'g');
  const cache = new Map<string, readonly number[]>();
  return (marked) => {
    const output: number[] = [];
    for (const [word] of marked.matchAll(words)) {
      let ids = cache.get(word);
      if (!ids) {
        ids = mergeWord(vocabulary, word);
        if (cache.size >= CACHE) cache.clear();
        cache.set(word, ids);
      }
      for (const id of ids) output.push(id);
    }
    return output;
  };
}

function mergeWord({ ids, scores, bytes, unknown }: SpmVocabulary, word: string): number[] {
  const starts = characterStarts(word);
  const n = starts.length - 1;
  // Symbols are a linked list over characters: symbol i spans starts[i] .. ends[i]; a merged-away symbol has ends[i] = 0.
  const ends = starts.slice(1);
  const next = Int32Array.from({ length: n }, (_, i) => (i + 1 < n ? i + 1 : -1));
  const previous = Int32Array.from({ length: n }, (_, i) => i - 1);
  const queue = new PairQueue();

  const propose = (left: number, right: number): void => {
    if (left < 0 || right < 0) return;
    const id = ids.get(word.slice(starts[left], ends[right]));
    if (id !== undefined) queue.push(scores[id]!, left, right, ends[right]!);
  };
  for (let i = 1; i < n; i++) propose(i - 1, i);

  for (let pair = queue.pop(); pair; pair = queue.pop()) {
    const { left, right, end } = pair;
    // A stale proposal: one of the two has been merged away or has grown since.
    if (ends[left] === 0 || ends[right] !== end || next[left] !== right) continue;
    ends[left] = end;
    ends[right] = 0;
    next[left] = next[right]!;
    if (next[left] >= 0) previous[next[left]] = left;
    propose(previous[left]!, left);
    propose(left, next[left]!);
  }

  const output: number[] = [];
  for (let i = n > 0 ? 0 : -1; i >= 0; i = next[i]!) {
    const symbol = word.slice(starts[i], ends[i]);
    const id = ids.get(symbol);
    if (id !== undefined) output.push(id);
    else for (const byte of utf8(symbol)) output.push(bytes[byte]! >= 0 ? bytes[byte]! : unknown);
  }
  return output;
}

/** [characters + 1] where each character begins, in UTF-16 units, and the length. */
function characterStarts(word: string): Int32Array {
  const starts = new Int32Array(word.length + 1);
  let n = 0;
  for (let i = 0; i < word.length; i += word.codePointAt(i)! > 0xffff ? 2 : 1) starts[n++] = i;
  starts[n++] = word.length;
  return starts.slice(0, n);
}

interface Pair {
  score: number;
  left: number;
  right: number;
  /** Where the right symbol ended when the pair was proposed. */
  end: number;
}

/** Binary heap: highest score first, of equals the leftmost. */
class PairQueue {
  readonly #heap: Pair[] = [];

  push(score: number, left: number, right: number, end: number): void {
    const heap = this.#heap;
    const pair = { score, left, right, end };
    let at = heap.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(pair, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = pair;
  }

  pop(): Pair | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (!last || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

function before(a: Pair, b: Pair): boolean {
  return a.score > b.score || (a.score === b.score && a.left < b.left);
}
