/** Size against loss: the points that nothing beats in both are the front. */
import { at, escaped, type Frame, legend, logAxis, logGrid, mark, type Picture, palette, verticalName } from './svg.ts';

export interface FrontPoint {
  label: string;
  /** Bits a weight. */
  x: number;
  /** Mean KL, nats. */
  y: number;
  /** Name in the legend; points of one series share a colour. */
  series?: string;
  /** Another point bears the label. */
  unlabelled?: boolean;
  /** Its label stands on the left. */
  left?: boolean;
}

const width = 860;
const height = 460;
const frame: Frame = { left: 70, right: 30, top: 46, bottom: 52 };

export interface FrontOptions {
  title?: string;
  /** Series drawn as squares. */
  squares?: readonly string[];
  /** Joins the points that nothing beats in both. */
  line?: boolean;
}

/** Points without a place (a KL that is no number, or infinite) are named below the title. */
export function frontPicture(all: readonly FrontPoint[], options: FrontOptions = {}): Picture {
  const points = all.filter(hasPlace);
  const { title = 'What each costs: bits a weight against KL from the original (lower left is better)' } = options;
  const { squares = [], line = false } = options;
  const { left, right, top, bottom } = frame;
  const [x0, x1] = bitsAxis(points);
  const axis = logAxis(points.map((p) => p.y));
  const px = (x: number) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
  const py = (y: number) => top + (1 - axis.share(y)) * (height - top - bottom);
  const series = [...new Set(points.flatMap((p) => (p.series === undefined ? [] : [p.series])))];
  const colorOf = (p: FrontPoint) => palette[Math.max(0, series.indexOf(p.series ?? '')) % palette.length]!;
  const ticks = Array.from({ length: x1 - x0 + 1 }, (_, i) => x0 + i).flatMap((x) => [
    `<line x1="${at(px(x))}" x2="${at(px(x))}" y1="${top}" y2="${height - bottom}" class="grid"/>`,
    `<text x="${at(px(x))}" y="${height - bottom + 18}" text-anchor="middle">${x}</text>`,
  ]);
  const marks = points.map((p) => {
    const shape = mark(px(p.x), py(p.y), colorOf(p), squares.includes(p.series ?? ''));
    if (p.unlabelled) return shape;
    const side = p.left ? `x="${at(px(p.x) - 8)}" text-anchor="end"` : `x="${at(px(p.x) + 9)}"`;
    return `${shape}<text ${side} y="${at(py(p.y))}" dy="4" class="label">${escaped(p.label)}</text>`;
  });
  const best = line ? frontOf(points).map((p) => `${at(px(p.x))},${at(py(p.y))}`) : [];
  return {
    ...{ width, height, title: 'Bits per weight against KL divergence' },
    body: [
      `<text x="${left}" y="24" class="title">${escaped(title)}</text>`,
      ...absentees(all),
      ...ticks,
      ...logGrid(axis, width, height, frame),
      `<text x="${(left + width - right) / 2}" y="${height - 12}" text-anchor="middle">bits per weight, scales and unquantized tensors counted</text>`,
      verticalName('mean KL (nats)', height),
      ...(best.length > 1 ? [`<polyline points="${best.join(' ')}" fill="none" stroke="#999" stroke-dasharray="4 3"/>`] : []),
      ...legend(
        series.map((name) => ({ name, color: colorOf({ series: name } as FrontPoint), square: squares.includes(name) })),
        width - right,
        top + 10,
      ),
      ...marks,
    ].join('\n'),
  };
}

/** Whether a point can be drawn. */
export function hasPlace({ x, y }: { x: number; y: number }): boolean {
  return Number.isFinite(x) && Number.isFinite(y);
}

/** Whole bits that hold all points, at least one; 0 to 1 where there are none. */
export function bitsAxis(points: readonly { x: number }[]): [from: number, to: number] {
  if (points.length === 0) return [0, 1];
  const from = Math.floor(Math.min(...points.map(({ x }) => x)));
  return [from, Math.max(from + 1, Math.ceil(Math.max(...points.map(({ x }) => x))))];
}

function absentees(all: readonly FrontPoint[]): string[] {
  const names = all.filter((point) => !hasPlace(point)).map(({ label }) => label);
  if (names.length === 0) return [];
  return [`<text x="${frame.left}" y="40" class="label">without a finite value, not drawn: ${escaped(names.join(', '))}</text>`];
}

/** Points that no other beats in both, from left to right. */
export function frontOf<T extends { x: number; y: number }>(points: readonly T[]): T[] {
  const sorted = [...points].sort((a, b) => a.x - b.x || a.y - b.y);
  const front: T[] = [];
  for (const point of sorted) if (front.length === 0 || point.y < front.at(-1)!.y) front.push(point);
  return front;
}
