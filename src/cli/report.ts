/** `compare --report`: one file with figures and plots. */
import { writeFileSync } from 'node:fs';
import { FileError, RecipeError } from '../errors.ts';
import {
  frontPicture,
  htmlReport,
  type ModelComparison,
  outlierPicture,
  type Perplexity,
  type Picture,
  stacked,
  standalone,
  tensorErrorPicture,
} from '../evaluate/index.ts';
import type { Model } from '../format/index.ts';
import { outlierRows, verify } from '../run/index.ts';
import { bytesText, small } from './terminal.ts';

export interface Compared extends ModelComparison {
  name: string;
  model: Model;
  bytes: number;
  bitsPerWeight: number;
}

/** @throws RecipeError for another extension than .html or .svg */
export function checkReportName(file: string): void {
  if (/\.(html|svg)$/i.test(file)) return;
  throw new RecipeError({
    what: 'a report is a page or a picture',
    where: '--report',
    value: file,
    next: 'end its name with .html or .svg',
  });
}

export async function writeReport(
  file: string,
  reference: Perplexity & { name: string; model: Model },
  models: readonly Compared[],
  { texts, signal }: { texts: readonly string[]; signal?: AbortSignal },
): Promise<void> {
  const pictures: Picture[] = [
    frontPicture(
      models.map(({ name, bitsPerWeight, kl }) => ({ label: labelOf(name), x: bitsPerWeight, y: kl.mean })),
      { line: true },
    ),
  ];
  const layers = reference.model.spec?.layers ?? 0;
  for (const { name, model } of models) pictures.push(await errorPicture(labelOf(name), model, reference.model, layers, signal));
  pictures.push(outlierPicture(await outlierRows(reference.model, signal)));
  const title = `${reference.name} and what was made of it`;
  const content = /\.svg$/i.test(file)
    ? standalone(stacked(title, pictures))
    : htmlReport(title, notes(reference, texts), [figures(reference, models)], pictures);
  try {
    writeFileSync(file, content);
  } catch (error) {
    throw new FileError({
      what: 'cannot write the report',
      where: file,
      value: (error as NodeJS.ErrnoException).code,
      next: 'check the path',
    });
  }
}

async function errorPicture(
  label: string,
  model: Model,
  reference: Model,
  layers: number,
  signal?: AbortSignal,
): Promise<Picture> {
  const { tensors } = await verify(model, reference, signal);
  const byName = new Map(reference.tensors.map((tensor) => [tensor.name, tensor]));
  const points = tensors.flatMap(({ name, sqnr }) => {
    const tensor = byName.get(name);
    if (!tensor || sqnr === undefined || !Number.isFinite(sqnr)) return [];
    const { layer, role } = tensor;
    return [{ ...(layer !== undefined && { layer }), role, error: 10 ** (-sqnr / 10) }];
  });
  return tensorErrorPicture(label, points, layers);
}

function notes({ perplexity, tokens, name }: Perplexity & { name: string }, texts: readonly string[]): string[] {
  return [`${tokens} tokens of ${texts.join(', ')}; perplexity of ${name}: ${perplexity.toFixed(4)}.`];
}

function figures(reference: Perplexity & { name: string }, models: readonly Compared[]) {
  return {
    title: 'Figures',
    head: ['model', 'size', 'bits per weight', 'perplexity', 'KL mean', 'KL p99', 'same top'],
    rows: [
      [reference.name, '', '', reference.perplexity.toFixed(4), '0', '0', '100 %'],
      ...models.map((m) => [
        m.name,
        bytesText(m.bytes),
        m.bitsPerWeight.toFixed(3),
        m.perplexity.toFixed(4),
        small(m.kl.mean),
        small(m.kl.p99),
        `${(100 * m.sameTop).toFixed(2)} %`,
      ]),
    ],
  };
}

/** The last part of a path. */
function labelOf(name: string): string {
  return (
    name
      .replace(/[\\/]+$/, '')
      .split(/[\\/]/)
      .at(-1) || name
  );
}
