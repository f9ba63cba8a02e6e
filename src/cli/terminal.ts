/** What commands share in talking to a person or a script: one document or tables on stdout, progress on stderr. */
import Table from 'cli-table3';
import picocolors from 'picocolors';
import { printable } from '../errors.ts';

/** Colours on a terminal or by FORCE_COLOR, never with NO_COLOR; the library's own rule colours the logs of CI machines too. */
const { env, stdout } = process;
export const pc = picocolors.createColors(!env['NO_COLOR'] && (Boolean(env['FORCE_COLOR']) || stdout.isTTY === true));

/** A check did what it should and found something: exit code 1. */
export class CheckFailed extends Error {}

export interface Common {
  json?: boolean;
  quiet?: boolean;
  debug?: boolean;
  threads?: number;
}

/** stdout. With --json only `document` is printed, and exactly once. */
export function printResult(common: Common, document: object, people: () => string): void {
  process.stdout.write(
    common.json ? `${JSON.stringify(document, (_, v) => (typeof v === 'bigint' ? Number(v) : v), 2)}\n` : `${people()}\n`,
  );
}

export function table(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  right: readonly number[] = [],
): string {
  const made = new Table({
    head: head.map((text) => pc.bold(text)),
    style: { head: [], border: [], compact: true },
    chars: {
      top: '',
      'top-mid': '',
      'top-left': '',
      'top-right': '',
      bottom: '',
      'bottom-mid': '',
      'bottom-left': '',
      'bottom-right': '',
      left: '',
      'left-mid': '',
      mid: '',
      'mid-mid': '',
      right: '',
      'right-mid': '',
      middle: '  ',
    },
    colAligns: head.map((_, i) => (right.includes(i) ? 'right' : 'left')),
  });
  made.push(...rows.map((row) => row.map((cell) => printable(String(cell)))));
  return made.toString();
}

/** Progress goes to stderr: one live line on a terminal, plain lines otherwise, at most a few a second. */
/** One word of a POSIX shell. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

export class ProgressLine {
  readonly #on: boolean;
  readonly #live: boolean;
  #last = 0;
  #shown = false;

  constructor({ quiet }: Common) {
    this.#on = !quiet;
    this.#live = process.stderr.isTTY === true;
  }

  update(text: string, force = false): void {
    if (!this.#on) return;
    const now = performance.now();
    if (!force && now - this.#last < (this.#live ? 100 : 2000)) return;
    this.#last = now;
    if (this.#live) {
      const width = (process.stderr.columns ?? 80) - 1;
      process.stderr.write(`\r\u001b[2K${printable(text).slice(0, width)}`);
      this.#shown = true;
    } else {
      process.stderr.write(`${printable(text)}\n`);
    }
  }

  /** A line that stays. */
  say(text: string): void {
    if (!this.#on) return;
    this.clear();
    process.stderr.write(`${printable(text)}\n`);
  }

  clear(): void {
    if (this.#shown) process.stderr.write('\r\u001b[2K');
    this.#shown = false;
  }
}

/** The signal of Ctrl-C, one for the whole command: work stops between tiles or batches. A second Ctrl-C ends at once. */
export function interruptSignal(): AbortSignal {
  signal ??= listen();
  return signal;
}

/** What Ctrl-C is answered with: a run says that it can be continued. */
export const interruption = { says: 'interrupted' };

let signal: AbortSignal | undefined;

function listen(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      controller.abort(new DOMException(interruption.says, 'AbortError'));
      process.once(name, () => process.exit(130));
    });
  }
  return controller.signal;
}

/** Decimal units: MB = 10^6 bytes. */
export function bytesText(size: number): string {
  const bytes = Math.round(size);
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

export function secondsText(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** Small numbers keep three significant digits: 0.00705, 1.2e-5. */
export function small(value: number): string {
  if (value === 0) return '0';
  return Math.abs(value) < 1e-4 ? value.toExponential(1) : value.toPrecision(3);
}
