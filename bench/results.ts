/** Benchmark results: JSON for machines in bench/results, a Markdown table for people on stdout. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Json } from '../interop/cli.ts';
import { root } from '../interop/project.ts';
import { table } from '../interop/report.ts';
import { machine } from './measure.ts';

export interface Table {
  /** One sentence: what the figures are. */
  title: string;
  rows: Json[];
  /** The same rows for people. */
  header: string[];
  cells: string[][];
}

export interface Section extends Table {
  name: string;
  /** Facts that hold for all rows: source, threads, number of runs. */
  setting: Json;
}

export function publish({ name, title, setting, rows, header, cells }: Section): void {
  save(name, { title, setting, rows });
  show({ title, header, cells });
}

/** Several tables of one section; their rows by name. */
export function publishTables(name: string, setting: Json, tables: Readonly<Record<string, Table>>): void {
  const documents = Object.entries(tables).map(([key, { title, rows }]) => [key, { title, rows }] as const);
  save(name, { setting, tables: Object.fromEntries(documents) });
  for (const one of Object.values(tables)) show(one);
}

function save(name: string, figures: Json): void {
  const folder = path.join(root, 'bench', 'results');
  mkdirSync(folder, { recursive: true });
  const document = { section: name, command: command(), machine: machine(), ...figures };
  writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify(document, null, 2)}\n`);
}

function show({ title, header, cells }: Pick<Table, 'title' | 'header' | 'cells'>): void {
  const { cpu, cores, node } = machine();
  console.log(`\n### ${title}\n\n${table(header, cells)}\n\n${cpu}, ${cores} cores, Node ${node}; \`${command()}\`\n`);
}

function command(): string {
  return ['npm run bench --', ...process.argv.slice(2)].join(' ');
}

/** A line of progress, kept away from the tables on stdout. */
export function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}

export const fixed = (value: number, digits = 2): string => value.toFixed(digits);
export const megabytes = (bytes: number | undefined): string => (bytes === undefined ? '-' : (bytes / 1e6).toFixed(0));
