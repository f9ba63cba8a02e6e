import { FileError } from '../errors.ts';

/**
 * Checks a name inside a store: segments separated by `/`, none of them empty, `.` or `..`, no backslash and no NUL, no drive
 * letter, so that it cannot leave the store's folder on any platform (CWE-22 path traversal).
 * @returns the segments.
 * @throws FileError for any other name.
 */
export function segmentsOf(name: string): string[] {
  const segments = name.split('/');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: NUL ends a path in C
  const escapes = segments.some((s) => s === '' || s === '.' || s === '..' || /[\\\u0000]|^[A-Za-z]:/.test(s));
  if (escapes) throw new FileError({ what: 'name leaves the folder or is not a plain relative name', where: name });
  return segments;
}
