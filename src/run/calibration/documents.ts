/** What a calibration file says: bytes to text, and text to documents. */
import { parseJsonObject } from '../../checkpoint/index.ts';
import type { JsonObject } from '../../checkpoint/types.ts';
import { FormatError } from '../../errors.ts';

/** @throws FormatError with the offset of the first byte that is not UTF-8: replacement characters would be calibrated on silently */
export function utf8Text(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    const offset = firstInvalid(bytes);
    const byte = bytes[offset]!.toString(16).padStart(2, '0');
    throw new FormatError({
      what: `the text is not UTF-8: byte 0x${byte} at offset ${offset}`,
      where,
      next: 'give a text file in UTF-8 (iconv converts others)',
    });
  }
}

/** Where a sequence begins that is none: all before it decodes. */
function firstInvalid(bytes: Uint8Array): number {
  const decodes = (length: number) => {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length));
      return true;
    } catch {
      return false;
    }
  };
  let [good, bad] = [0, bytes.length];
  while (bad - good > 4) {
    const middle = (good + bad) >> 1;
    // A prefix may end within a character of up to four bytes, which says nothing about it.
    const whole = [0, 1, 2, 3].find((less) => middle - less > good && decodes(middle - less));
    if (whole === undefined) bad = middle;
    else good = middle - whole;
  }
  while (good < bytes.length) {
    const length = [1, 2, 3, 4].find((more) => decodes(good + more) && good + more <= bytes.length);
    if (length === undefined) return good;
    good += length;
  }
  return bytes.length - 1;
}

export interface Documents {
  /** Each is tokenized for itself. */
  parts: string[];
  warnings: string[];
}

/**
 * A text is one document, JSON lines of {"text": "..."} are one a line. Lines of {"messages": [...]} need a chat template and are
 * taken as they are, with a warning.
 * @throws FormatError for a line that is no {"text"} among lines that are
 */
export function documentsOf(text: string): Documents {
  const first = objectOf(/\S[^\r\n]*/.exec(text)?.[0] ?? '');
  if (Array.isArray(first?.['messages']))
    return {
      parts: [text],
      warnings: ['the calibration text is JSON lines of messages and is read as plain text: --chat-template renders them'],
    };
  if (typeof first?.['text'] !== 'string') return { parts: [text], warnings: [] };
  const lines = text.split(/\r?\n/).map((line, i) => ({ line, where: `line ${i + 1} of the calibration text` }));
  const parts = lines.filter(({ line }) => line.trim() !== '').map(({ line, where }) => textIn(line, where));
  return { parts, warnings: [] };
}

function textIn(line: string, where: string): string {
  const { text } = parseJsonObject(line, where);
  if (typeof text === 'string') return text;
  throw new FormatError({ what: 'a document is {"text": "..."}', where });
}

function objectOf(line: string): JsonObject | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return parseJsonObject(line, 'line');
  } catch {
    return undefined;
  }
}
