/** Collects outcomes of checks and tables of figures; shared by the checks and the benchmarks. */

export class Mismatch extends Error {
  override name = 'Mismatch';
}

/** @throws Mismatch */
export function expect(condition: boolean, difference: string): asserts condition {
  if (!condition) throw new Mismatch(difference);
}

/** Counts what passed and prints each outcome when it is known: a failure or a crash of one check does not stop the others. */
export class Report {
  passed = 0;
  failed = 0;

  /** `run` returns a remark to print, or throws. */
  async check(name: string, run: () => string | Promise<string>): Promise<boolean> {
    try {
      const remark = await run();
      this.passed++;
      console.log(`ok    ${name}${remark && `: ${remark}`}`);
      return true;
    } catch (error) {
      this.failed++;
      console.log(`FAIL  ${name}: ${error instanceof Error ? error.message : error}`);
      return false;
    }
  }

  /** The closing line; the exit code. */
  close(): number {
    console.log(`${this.passed} passed, ${this.failed} failed`);
    return this.failed > 0 ? 1 : 0;
  }
}

/** A Markdown table with columns padded to equal width; columns after the first are aligned right. */
export function table(header: string[], rows: string[][]): string {
  const widths = header.map((title, i) => Math.max(title.length, 3, ...rows.map((row) => row[i]!.length)));
  const line = (cells: string[]): string =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(' | ')} |`;
  const rule = `|${widths.map((width, i) => (i === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(header), rule, ...rows.map(line)].join('\n');
}
