/** What all plots share: a picture is a size and SVG elements; colours, fonts and axes are the same everywhere. */

export interface Picture {
  width: number;
  height: number;
  /** For those who do not see it. */
  title: string;
  /** SVG elements. */
  body: string;
}

/** Of a plot inside its picture. */
export interface Frame {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** Told apart by people who do not see all colours (Okabe and Ito 2008). */
export const palette = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8a6d00', '#444444'] as const;

export const style = `text { font: 12px system-ui, sans-serif; fill: #444 } .label { font-size: 10px } .title { font-size: 15px; font-weight: 600; fill: #222 }
.grid { stroke: #ddd }`;

/** A file of its own. */
export function standalone({ width, height, title, body }: Picture): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(title)}">
<style>
${style}
</style>
<rect width="${width}" height="${height}" fill="#fff"/>
${body}
</svg>
`;
}

/** Pictures below each other. */
export function stacked(title: string, pictures: readonly Picture[]): Picture {
  let y = 0;
  const parts = pictures.map(({ width, height, body }) => {
    const part = `<svg x="0" y="${y}" width="${width}" height="${height}">\n${body}\n</svg>`;
    y += height;
    return part;
  });
  return { width: Math.max(...pictures.map(({ width }) => width)), height: y, title, body: parts.join('\n') };
}

/** Names come from files: nothing of them may be read as markup (CWE-79). */
export function escaped(text: string): string {
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character]!);
}

/** A coordinate: a tenth of a pixel is enough. */
export function at(value: number): string {
  return value.toFixed(1);
}

export interface LogAxis {
  /** Whole decades. */
  from: number;
  to: number;
  /** Where a value lies between the ends, 0..1; what is below the first decade lies on it. */
  share(value: number): number;
}

/** Decades that hold all positive values; at least one. */
export function logAxis(values: readonly number[]): LogAxis {
  const positive = values.filter((value) => value > 0 && Number.isFinite(value));
  const from = positive.length ? Math.floor(Math.log10(Math.min(...positive))) : -1;
  const to = positive.length ? Math.max(from + 1, Math.ceil(Math.log10(Math.max(...positive)))) + 0 : 0;
  const share = (value: number) => (value > 0 ? Math.min(1, Math.max(0, (Math.log10(value) - from) / (to - from))) : 0);
  return { from, to, share };
}

/** Lines and numbers of a logarithmic vertical axis. */
export function logGrid(axis: LogAxis, width: number, height: number, { left, right, top, bottom }: Frame): string[] {
  const lines: string[] = [];
  for (let e = axis.from; e <= axis.to; e++) {
    const y = at(top + (1 - axis.share(10 ** e)) * (height - top - bottom));
    lines.push(`<line x1="${left}" x2="${width - right}" y1="${y}" y2="${y}" class="grid"/>`);
    lines.push(`<text x="${left - 8}" y="${y}" dy="4" text-anchor="end">${e >= -3 && e <= 3 ? 10 ** e : `1e${e}`}</text>`);
    // Between few powers of ten also 2 and 5 of each.
    if (e === axis.to || axis.to - axis.from > 2) continue;
    for (const step of [2, 5]) {
      const between = at(top + (1 - axis.share(step * 10 ** e)) * (height - top - bottom));
      lines.push(
        `<line x1="${left}" x2="${width - right}" y1="${between}" y2="${between}" class="grid" stroke-dasharray="2 4"/>`,
      );
      const value = e >= -3 ? Number((step * 10 ** e).toPrecision(1)) : `${step}e${e}`;
      lines.push(`<text x="${left - 8}" y="${between}" dy="4" text-anchor="end" class="label">${value}</text>`);
    }
  }
  return lines;
}

/** The vertical axis' name. */
export function verticalName(text: string, height: number): string {
  return `<text transform="rotate(-90)" x="${-height / 2}" y="16" text-anchor="middle">${escaped(text)}</text>`;
}

/** A mark and its meaning, from the right edge to the left. */
export function legend(
  entries: readonly { name: string; color: string; square?: boolean }[],
  right: number,
  y: number,
): string[] {
  let x = right;
  return [...entries].reverse().map(({ name, color, square }) => {
    x -= 22 + 6.6 * name.length;
    return `${mark(x, y, color, square)}<text x="${at(x + 11)}" y="${y + 4}">${escaped(name)}</text>`;
  });
}

export function mark(x: number, y: number, color: string, square = false, size = 5): string {
  return square
    ? `<rect x="${at(x - size + 0.5)}" y="${at(y - size + 0.5)}" width="${2 * size - 1}" height="${2 * size - 1}" fill="${color}"/>`
    : `<circle cx="${at(x)}" cy="${at(y)}" r="${size}" fill="${color}"/>`;
}
