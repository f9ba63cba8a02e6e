/**
 * Tokens as bytes. A token may hold half a UTF-8 character, so that text only arises once the bytes of all tokens are joined.
 */
import type { Tokenizer } from './types.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/**
 * GPT-2's bijection between bytes and printable characters: printable Latin-1 stands for itself, the other 68 bytes follow
 * from U+0100 on, in order (openai/gpt-2 `bytes_to_unicode`).
 */
const charOfByte: readonly string[] = (() => {
  let next = 0x100;
  const printable = (byte: number): boolean => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
})();
const byteOfChar = new Map(charOfByte.map((char, byte) => [char.charCodeAt(0), byte]));

/** The bytes of a byte-level token; a token with characters outside the alphabet stands for its own UTF-8 bytes. */
export function byteLevelBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfChar.get(token.charCodeAt(i));
    if (byte === undefined) return encoder.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** The byte that a SentencePiece byte token stands for, or undefined: `<0x0A>` is one, `<0x-1>` and `<0xa>` are ordinary text. */
export function byteTokenValue(token: string): number | undefined {
  return /^<0x[0-9A-F]{2}>$/.test(token) ? Number.parseInt(token.slice(3, 5), 16) : undefined;
}

/** SentencePiece's mark for a space, U+2581. */
export const SPACE_MARK = '\u2581';

/** The bytes of a SentencePiece token: a byte token's byte, else its text with spaces for the marks. */
export function sentencePieceBytes(token: string): Uint8Array {
  const byte = byteTokenValue(token);
  return byte === undefined ? encoder.encode(token.replaceAll(SPACE_MARK, ' ')) : Uint8Array.of(byte);
}

/**
 * Joins the bytes of tokens and reads them as UTF-8; bytes that are no UTF-8 become U+FFFD. Ids without a token (padding
 * rows of an embedding) stand for nothing, as in transformers.
 * @param bytesOf the bytes of a token id
 * @param dropSpace whether the space that the tokenizer put before the text is taken away again
 */
export function byteDecoder(bytesOf: (id: number) => Uint8Array | undefined, dropSpace: boolean): Tokenizer['decode'] {
  const cache = new Map<number, Uint8Array>();
  const nothing = new Uint8Array(0);
  const cached = (id: number): Uint8Array => {
    let bytes = cache.get(id);
    if (!bytes) {
      bytes = bytesOf(id) ?? nothing;
      cache.set(id, bytes);
    }
    return bytes;
  };
  return (ids) => {
    let length = 0;
    for (let i = 0; i < ids.length; i++) length += cached(ids[i]!).length;
    const all = new Uint8Array(length);
    for (let i = 0, at = 0; i < ids.length; i++) {
      const bytes = cached(ids[i]!);
      all.set(bytes, at);
      at += bytes.length;
    }
    return decoder.decode(dropSpace && all[0] === 0x20 ? all.subarray(1) : all);
  };
}
