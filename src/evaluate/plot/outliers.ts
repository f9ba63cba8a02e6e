/** Where the large weights are: the largest value of each input channel against the middle one of its matrix. */
import { at, escaped, type Picture } from './svg.ts';

export interface OutlierRow {
  /** Of the tensor. */
  name: string;
  /** The largest |w| of runs of input channels, [bins], over the median of the tensor's channels. */
  ratios: readonly number[];
}

const width = 860;
const left = 250;
const right = 20;
const top = 58;
const rowHeight = 11;
/** Ratios from which a cell is darker; light to dark. */
const steps = [1.25, 1.5, 2, 3, 4, 6, 10, 20] as const;
const colors = ['#e8eef4', '#d0e0ee', '#a9cbe3', '#7fb0d2', '#f2c14e', '#e8943a', '#d1495b', '#8d1c3b'] as const;

/** One path a colour: pictures of many layers stay small. */
export function outlierPicture(rows: readonly OutlierRow[]): Picture {
  const cell = (width - left - right) / Math.max(1, ...rows.map(({ ratios }) => ratios.length));
  const paths = colors.map(() => [] as string[]);
  for (const [r, { ratios }] of rows.entries()) {
    for (const [c, ratio] of ratios.entries()) {
      const level = steps.findLastIndex((step) => ratio >= step);
      if (level >= 0)
        paths[level]!.push(`M${at(left + c * cell)} ${top + r * rowHeight}h${at(cell)}v${rowHeight - 1}h-${at(cell)}z`);
    }
  }
  const height = top + rows.length * rowHeight + 16;
  const key = colors.flatMap((color, i) => [
    `<rect x="${left + i * 70}" y="32" width="12" height="12" fill="${color}"/>`,
    `<text x="${left + i * 70 + 16}" y="42" class="label">${steps[i]}x</text>`,
  ]);
  return {
    ...{ width, height, title: 'Largest weight of each input channel over the median channel of its matrix' },
    body: [
      `<text x="20" y="20" class="title">Outlier map: the largest weight of each input channel over the median of its matrix</text>`,
      ...key,
      ...rows.map(
        ({ name }, r) =>
          `<text x="${left - 6}" y="${top + r * rowHeight + 8}" text-anchor="end" class="label">${escaped(shortened(name))}</text>`,
      ),
      ...paths.flatMap((path, i) => (path.length ? [`<path d="${path.join('')}" fill="${colors[i]}"/>`] : [])),
    ].join('\n'),
  };
}

function shortened(name: string): string {
  return name.replace(/\.weight$/, '').replace(/^model\.layers\./, '');
}
