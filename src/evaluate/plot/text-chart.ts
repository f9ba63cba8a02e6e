/** The front as lines of text: bits a weight to the right, KL upward by decades, a letter for each model. */
import { bitsAxis, frontOf, hasPlace } from './front.ts';
import { logAxis } from './svg.ts';

export interface TextPoint {
  x: number;
  y: number;
}

const letters = 'abcdefghijklmnopqrstuvwxyz';

/** Letters of points by their order; beyond the alphabet they share '+'. */
export function letterOf(index: number): string {
  return letters[index] ?? '+';
}

/**
 * Points without a place (a KL that is no number, or infinite) are listed below.
 * @param width, height: of the plot without its axes, in characters. @returns '' where there is nothing to see
 */
export function textFront(all: readonly TextPoint[], { width = 60, height = 14 } = {}): string {
  if (all.length === 0) return '';
  const absent = all.flatMap((point, i) => (hasPlace(point) ? [] : [letterOf(i)]));
  const listed = absent.length > 0 ? [`without a finite value, not drawn: ${absent.join(', ')}`] : [];
  const points = all.filter(hasPlace);
  if (points.length === 0) return listed.join('\n');
  const axis = logAxis(points.map(({ y }) => y));
  const [x0, x1] = bitsAxis(points);
  const cells = Array.from({ length: height }, () => new Array<string>(width).fill(' '));
  const column = (x: number) => Math.round(((x - x0) / (x1 - x0)) * (width - 1));
  const row = (y: number) => Math.round((1 - axis.share(y)) * (height - 1));
  const front = frontOf(points);
  for (const [i, from] of front.entries()) {
    const to = front[i + 1];
    if (!to) break;
    for (let c = column(from.x); c <= column(to.x); c++) {
      const part = column(to.x) === column(from.x) ? 0 : (c - column(from.x)) / (column(to.x) - column(from.x));
      cells[Math.round(row(from.y) + part * (row(to.y) - row(from.y)))]![c] = '.';
    }
  }
  for (const [i, point] of all.entries()) if (hasPlace(point)) cells[row(point.y)]![column(point.x)] = letterOf(i);
  const labels = new Map<number, string>();
  for (let e = axis.from; e <= axis.to; e++) labels.set(row(10 ** e), e >= -3 && e <= 3 ? `${10 ** e}` : `1e${e}`);
  const lines = cells.map((line, r) =>
    `${(labels.get(r) ?? '').padStart(7)} ${labels.has(r) ? '+' : '|'}${line.join('')}`.trimEnd(),
  );
  const ticks = new Array<string>(width + 8).fill(' ');
  const every = Math.max(1, Math.ceil((x1 - x0) / 10));
  for (let x = x0; x <= x1; x += every) for (const [i, digit] of [...`${x}`].entries()) ticks[column(x) + i] = digit;
  return [
    ' KL (nats)',
    ...lines,
    `${' '.repeat(8)}+${'-'.repeat(width)}`,
    `${' '.repeat(9)}${ticks.join('').trimEnd()}  bits per weight`,
    ...listed,
  ].join('\n');
}
