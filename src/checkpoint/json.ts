import { FormatError } from '../errors.ts';
import type { Json, JsonObject } from './types.ts';

/**
 * A strict JSON reader that is pulled: the caller says what must come next. JSON.parse cannot stand in for it: it keeps the
 * last of two equal keys (two readers of one file may then see two models), takes `4.0` for `4`, rounds integers past 2^53 and
 * turns every claimed nesting into objects before anyone can refuse it.
 */

/** Deepest nesting of a value whose structure is not known beforehand (CWE-674 uncontrolled recursion). */
const MAX_DEPTH = 64;

const whitespace = /[ \t\n\r]*/y;
const integerToken = /0|[1-9][0-9]*/y;
const numberToken = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const literals: readonly (readonly [string, Json])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
  // Python writes these three, and configurations of recurrent models hold them.
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
];

export class JsonScanner {
  readonly #text: string;
  readonly #where: string;
  #at = 0;

  /** @param where what messages name: the file. */
  constructor(text: string, where: string) {
    this.#text = text;
    this.#where = where;
  }

  /** The scanner's error at its present place. */
  fail(what: string, value?: unknown): FormatError {
    const found = value ?? (this.#text.slice(this.#at, this.#at + 20) || 'the end');
    return new FormatError({ what: `JSON: ${what} at character ${this.#at}`, where: this.#where, value: found });
  }

  /** Reads an object; `member` must read the value of each key. Equal keys are refused. */
  object(member: (key: string) => void): void {
    this.#expect('{');
    const seen = new Set<string>();
    if (this.#take('}')) return;
    do {
      const key = this.string();
      if (seen.has(key)) throw this.fail('the same key twice', key);
      seen.add(key);
      this.#expect(':');
      member(key);
    } while (this.#take(','));
    this.#expect('}');
  }

  /** Reads an array; `element` must read each element. */
  array(element: () => void): void {
    this.#expect('[');
    if (this.#take(']')) return;
    do element();
    while (this.#take(','));
    this.#expect(']');
  }

  string(): string {
    this.#skip();
    const text = this.#quoted();
    // Half a surrogate pair has no UTF-8 form: the name could not be written again.
    if (/\p{Surrogate}/u.test(text)) throw this.fail('half a surrogate pair in a string');
    return text;
  }

  /** A non-negative integer of at most 2^53 - 1, written without point or exponent. */
  integer(): number {
    const token = this.#token(integerToken, 'a non-negative integer was expected');
    const value = Number(token);
    if (!Number.isSafeInteger(value)) throw this.fail('an integer is past 2^53 - 1', token);
    if (/[.eE]/.test(this.#text.charAt(this.#at))) throw this.fail('an integer was expected, a fraction follows');
    return value;
  }

  /** Any value. Objects have no prototype, so that a key such as `constructor` is only a key. */
  value(depth = 0): Json {
    if (depth > MAX_DEPTH) throw this.fail(`nested deeper than ${MAX_DEPTH}`);
    this.#skip();
    const next = this.#text.charAt(this.#at);
    if (next === '{') return this.#members(depth);
    if (next === '"') return this.string();
    if (next === '[') {
      const elements: Json[] = [];
      this.array(() => elements.push(this.value(depth + 1)));
      return elements;
    }
    const literal = literals.find(([word]) => this.#text.startsWith(word, this.#at));
    if (literal === undefined) return Number(this.#token(numberToken, 'a value was expected'));
    this.#at += literal[0].length;
    return literal[1];
  }

  /** Nothing but white space may follow. */
  end(): void {
    this.#skip();
    if (this.#at !== this.#text.length) throw this.fail('text after the end');
  }

  #members(depth: number): JsonObject {
    const members: JsonObject = Object.create(null);
    this.object((key) => {
      // Code that copies the object into an ordinary one would change that one's prototype (CWE-1321).
      if (key === '__proto__') throw this.fail('a key is not allowed', key);
      members[key] = this.value(depth + 1);
    });
    return members;
  }

  /** The string that starts here. Its end is searched, not matched: a pattern would need stack for each character. */
  #quoted(): string {
    const text = this.#text;
    if (text.charAt(this.#at) !== '"') throw this.fail('a string was expected');
    let end = this.#at;
    let escapes: number;
    do {
      end = text.indexOf('"', end + 1);
      if (end < 0) throw this.fail('a string does not end');
      for (escapes = 0; text.charAt(end - 1 - escapes) === '\\'; ) escapes++;
    } while (escapes % 2 === 1);
    try {
      const string = JSON.parse(text.slice(this.#at, end + 1)) as string;
      this.#at = end + 1;
      return string;
    } catch {
      throw this.fail('a string holds a control character or an unknown escape');
    }
  }

  #skip(): void {
    whitespace.lastIndex = this.#at;
    whitespace.test(this.#text);
    this.#at = whitespace.lastIndex;
  }

  #take(character: string): boolean {
    this.#skip();
    const found = this.#text.charAt(this.#at) === character;
    if (found) this.#at++;
    return found;
  }

  #expect(character: string): void {
    if (!this.#take(character)) throw this.fail(`'${character}' was expected`);
  }

  #token(pattern: RegExp, otherwise: string): string {
    this.#skip();
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (!match) throw this.fail(otherwise);
    this.#at = pattern.lastIndex;
    return match[0];
  }
}

/**
 * Reads the text of a JSON file that must hold one object: config.json and its like.
 * @throws FormatError for anything that is not strict JSON, repeats a key, or nests too deep.
 */
export function parseJsonObject(text: string, where: string): JsonObject {
  const scanner = new JsonScanner(text, where);
  const value = scanner.value();
  scanner.end();
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new FormatError({ what: 'a JSON object was expected', where });
  return value;
}

/**
 * Decodes UTF-8 text.
 * @throws FormatError where the bytes are not UTF-8.
 */
export function decodeText(bytes: Uint8Array, where: string): string {
  try {
    // `slice` leaves shared memory, which decoders of browsers refuse.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice());
  } catch {
    throw new FormatError({ what: 'text is not valid UTF-8', where });
  }
}
