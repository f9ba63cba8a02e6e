import type { Tokenizer } from '../tokenizer/types.ts';

/** What a decoder shows for bytes that are no whole character. */
const replacement = '\ufffd';
/** A UTF-8 character that misses its end has at most this many bytes, each shown as one replacement or all as one. */
const unfinishedBytes = 3;
/** A window that never ends on a whole character (a model that writes invalid bytes) is let go at this length. */
const longestWindow = 64;

/**
 * Token ids to text as it grows. A character may span tokens, and a token's text may depend on the one before it (leading spaces):
 * ids are decoded in a window that starts with the tokens of the piece before, and an incomplete character is held back.
 */
export class TextStream {
  readonly #tokenizer: Tokenizer;
  #window: number[] = [];
  /** Characters of the window's text that were given out. */
  #given = 0;
  /** Tokens of the window that belong to the piece before. */
  #context = 0;

  /** @param before the id that the stream follows, if any: its text is not given out, but the first token's may depend on it. */
  constructor(tokenizer: Tokenizer, before?: number) {
    this.#tokenizer = tokenizer;
    if (before === undefined) return;
    this.#window = [before];
    this.#context = 1;
    this.#given = tokenizer.decode(this.#window).length;
  }

  /** The text that `id` completes, maybe ''. */
  push(id: number): string {
    this.#window.push(id);
    const text = this.#tokenizer.decode(this.#window);
    const whole = withoutUnfinished(text);
    if (whole.length < text.length && this.#window.length < longestWindow) return this.#give(whole);
    const piece = this.#give(text);
    this.#window = this.#window.slice(this.#context);
    this.#context = this.#window.length;
    this.#given = this.#tokenizer.decode(this.#window).length;
    return piece;
  }

  /** What was held back. */
  end(): string {
    return this.#give(this.#tokenizer.decode(this.#window));
  }

  #give(text: string): string {
    const piece = text.slice(this.#given);
    this.#given = Math.max(this.#given, text.length);
    return piece;
  }
}

function withoutUnfinished(text: string): string {
  let end = text.length;
  while (end > 0 && text.length - end < unfinishedBytes && text[end - 1] === replacement) end--;
  return text.slice(0, end);
}
