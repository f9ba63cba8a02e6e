/** Benchmark results: JSON for machines in bench/results, a Markdown table for people on stdout. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Json } from '../interop/cli.ts';
import { root } from '../interop/project.ts';
import { table } from '../interop/report.ts';
import { machine } from './measure.ts';

export interface Section {
  name: string;
  /** One sentence: what the figures are. */
  title: string;
  /** Facts that hold for all rows: source, threads, number of runs. */
  setting: Json;
  rows: Json[];
  /** The same rows for people. */
  header: string[];
  cells: string[][];
}

export function publish(section: Section): void {
  const { name, title, setting, rows, header, cells } = section;
  const folder = path.join(root, 'bench', 'results');
  mkdirSync(folder, { recursive: true });
  const command = ['npm run bench --', ...process.argv.slice(2)].join(' ');
  const document = { section: name, title, command, machine: machine(), setting, rows };
  writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify(document, null, 2)}\n`);
  const { cpu, cores, node } = machine();
  console.log(`\n### ${title}\n\n${table(header, cells)}\n\n${cpu}, ${cores} cores, Node ${node}; \`${command}\`\n`);
}

/** A line of progress, kept away from the tables on stdout. */
export function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}

export const fixed = (value: number, digits = 2): string => value.toFixed(digits);
export const megabytes = (bytes: number | undefined): string => (bytes === undefined ? '-' : (bytes / 1e6).toFixed(0));
