/** `compare --report`: one file with figures and plots. */
import { RecipeError } from '../errors.ts';
import {
  frontPicture,
  htmlReport,
  type ModelComparison,
  outlierPicture,
  type Perplexity,
  type Picture,
  stacked,
  standalone,
  type TensorErrorPoint,
  tensorErrorPicture,
} from '../evaluate/index.ts';
import type { Model } from '../format/index.ts';
import { outlierRows, verify } from '../run/index.ts';
import { refuseExisting, writeOutput } from './output.ts';
import { bytesText, small } from './terminal.ts';

export interface Compared extends ModelComparison {
  name: string;
  model: Model;
  bytes: number;
  bitsPerWeight: number;
}

/** @throws RecipeError for another extension than .html or .svg, FileError for a file that exists */
export async function checkReport(file: string, force?: boolean): Promise<void> {
  if (/\.(html|svg)$/i.test(file)) return refuseExisting(file, force);
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
  const errors: TensorErrorPoint[][] = [];
  for (const { model } of models) errors.push(await tensorErrors(model, reference.model, signal));
  const scale = errors.flat().map(({ error }) => error);
  for (const [i, { name }] of models.entries()) pictures.push(tensorErrorPicture(labelOf(name), errors[i]!, layers, scale));
  pictures.push(outlierPicture(await outlierRows(reference.model, signal)));
  const title = `${reference.name} and what was made of it`;
  const content = /\.svg$/i.test(file)
    ? standalone(stacked(title, pictures))
    : htmlReport(title, notes(reference, texts), [figures(reference, models)], pictures);
  await writeOutput(file, content);
}

async function tensorErrors(model: Model, reference: Model, signal?: AbortSignal): Promise<TensorErrorPoint[]> {
  const { tensors } = await verify(model, reference, signal);
  const byName = new Map(reference.tensors.map((tensor) => [tensor.name, tensor]));
  return tensors.flatMap(({ name, sqnr }) => {
    const tensor = byName.get(name);
    if (!tensor || sqnr === undefined || !Number.isFinite(sqnr)) return [];
    const { layer, role } = tensor;
    return [{ ...(layer !== undefined && { layer }), role, error: 10 ** (-sqnr / 10) }];
  });
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
