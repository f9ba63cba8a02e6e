/** A scatter plot with a logarithmic vertical axis, as SVG text: bits a weight against KL. */

export interface Point {
  label: string;
  /** Bits a weight. */
  x: number;
  /** Mean KL, nats. */
  y: number;
  gguf: boolean;
  /** Another point of the same type lies above it, which bears the label. */
  gptq: boolean;
}

const width = 860;
const height = 460;
const margin = { left: 70, right: 30, top: 46, bottom: 52 };

export function frontSvg(points: readonly Point[]): string {
  const xs = points.map((p) => p.x);
  const ys = points.map((p) => p.y);
  const [x0, x1] = [Math.floor(Math.min(...xs)), Math.ceil(Math.max(...xs))];
  const [y0, y1] = [Math.floor(Math.log10(Math.min(...ys))), Math.ceil(Math.log10(Math.max(...ys)))];
  const px = (x: number) => margin.left + ((x - x0) / (x1 - x0)) * (width - margin.left - margin.right);
  const py = (y: number) => margin.top + ((y1 - Math.log10(y)) / (y1 - y0)) * (height - margin.top - margin.bottom);
  const at = (n: number) => n.toFixed(1);
  const grid: string[] = [];
  for (let x = x0; x <= x1; x++) {
    grid.push(`<line x1="${at(px(x))}" x2="${at(px(x))}" y1="${margin.top}" y2="${height - margin.bottom}" class="grid"/>`);
    grid.push(`<text x="${at(px(x))}" y="${height - margin.bottom + 18}" text-anchor="middle">${x}</text>`);
  }
  for (let e = y0; e <= y1; e++) {
    const y = at(py(10 ** e));
    grid.push(`<line x1="${margin.left}" x2="${width - margin.right}" y1="${y}" y2="${y}" class="grid"/>`);
    grid.push(`<text x="${margin.left - 8}" y="${y}" dy="4" text-anchor="end">${e >= -3 ? 10 ** e : `1e${e}`}</text>`);
  }
  const marks = points.map((p) => {
    const shape = p.gguf
      ? `<circle cx="${at(px(p.x))}" cy="${at(py(p.y))}" r="5" class="${p.gptq ? 'gptq' : 'gguf'}"/>`
      : `<rect x="${at(px(p.x) - 4.5)}" y="${at(py(p.y) - 4.5)}" width="9" height="9" class="${p.gptq ? 'gptq' : 'int'}"/>`;
    if (p.gptq) return shape;
    const side = p.gguf ? `x="${at(px(p.x) - 8)}" text-anchor="end"` : `x="${at(px(p.x) + 9)}"`;
    return `${shape}<text ${side} y="${at(py(p.y))}" dy="4" class="label">${p.label}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="Bits per weight against KL divergence">
<style>
text { font: 12px system-ui, sans-serif; fill: #444 } .label { font-size: 10px } .title { font-size: 15px; font-weight: 600; fill: #222 }
.grid { stroke: #ddd } .gguf { fill: #0b6bcb } .int { fill: #d9730d } .gptq { fill: #2a9d4e }
</style>
<rect width="${width}" height="${height}" fill="#fff"/>
<text x="${margin.left}" y="24" class="title">What each type costs: bits a weight against KL from the original (lower left is better)</text>
${grid.join('\n')}
<text x="${(margin.left + width - margin.right) / 2}" y="${height - 12}" text-anchor="middle">bits per weight, scales and unquantized tensors counted</text>
<text transform="rotate(-90)" x="${-height / 2}" y="16" text-anchor="middle">mean KL (nats)</text>
<circle cx="${width - 350}" cy="${margin.top + 10}" r="5" class="gguf"/><text x="${width - 338}" y="${margin.top + 14}">GGUF types</text>
<circle cx="${width - 252}" cy="${margin.top + 10}" r="5" class="gptq"/><text x="${width - 240}" y="${margin.top + 14}">with GPTQ</text>
<rect x="${width - 150}" y="${margin.top + 5.5}" width="9" height="9" class="int"/><text x="${width - 135}" y="${margin.top + 14}">int, embedding kept</text>
${marks.join('\n')}
</svg>
`;
}
