/** Integer grids that llm-compressor's GPTQModifier was measured on, with the same model, text and number of tokens. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { root } from '../interop/project.ts';

export interface Grid {
  /** method-bits-group-symmetry, as the peers name it. */
  name: string;
  bits: number;
  group: number;
  symmetric: boolean;
  containers: readonly ('gptq' | 'compressed-tensors')[];
}

export interface Peer {
  name: string;
  klMean: number;
  perplexity: number;
  /** Program, version and settings. */
  source: string;
}

const setups = [
  [4, 32, true],
  [4, 64, true],
  [4, 64, false],
  [3, 64, true],
  [3, 64, false],
  [2, 64, false],
] as const;

export const grids: readonly Grid[] = setups.map(([bits, group, symmetric]) => ({
  name: `gptq-${bits}-${group}-${symmetric ? 'sym' : 'asym'}`,
  ...{ bits, group, symmetric },
  containers: bits === 4 ? ['gptq', 'compressed-tensors'] : ['gptq'],
}));

const golden = path.join(root, 'test', 'golden', 'quality', 'peers.json');
const { rows } = JSON.parse(readFileSync(golden, 'utf8')) as { rows: Peer[] };

/** Their seconds were taken on another machine and are left out. */
export const peers: ReadonlyMap<string, Peer> = new Map(
  rows.map(({ name, klMean, perplexity, source }) => [name, { name, klMean, perplexity, source }]),
);
