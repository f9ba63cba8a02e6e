/** What each tensor of a model lost, layer by layer. */
import { at, escaped, type Frame, legend, logAxis, logGrid, mark, type Picture, palette, verticalName } from './svg.ts';

export interface TensorErrorPoint {
  /** Undefined: the embedding in front of the layers, the head behind them. */
  layer?: number;
  role: string;
  /** Sum of squared errors / sum of squares. */
  error: number;
}

const width = 860;
const height = 260;
const frame: Frame = { left: 70, right: 30, top: 46, bottom: 40 };

/**
 * @param layers number of layers; values outside of them stand at the edges
 * @param scale errors that the vertical axis spans: those of all models whose pictures stand side by side
 */
export function tensorErrorPicture(
  label: string,
  points: readonly TensorErrorPoint[],
  layers: number,
  scale: readonly number[] = points.map(({ error }) => error),
): Picture {
  const { left, right, top, bottom } = frame;
  const lossy = points.filter(({ error }) => error > 0);
  const axis = logAxis(scale);
  const slots = layers + 2;
  const px = (slot: number) => left + ((slot + 0.5) / slots) * (width - left - right);
  const roles = [...new Set(lossy.map(({ role }) => role))];
  const every = Math.ceil(layers / 32);
  const ticks = Array.from({ length: slots }, (_, slot) => {
    const name = slot === 0 ? 'embedding' : slot === slots - 1 ? 'output' : (slot - 1) % every === 0 ? `${slot - 1}` : '';
    return name ? `<text x="${at(px(slot))}" y="${height - bottom + 16}" text-anchor="middle" class="label">${name}</text>` : '';
  });
  const slotOf = ({ layer, role }: TensorErrorPoint) => (layer !== undefined ? layer + 1 : role === 'output' ? slots - 1 : 0);
  const marks = lossy.map((point) => {
    const index = roles.indexOf(point.role);
    // Roles of one layer stand beside each other.
    const shift = ((index + 0.5) / roles.length - 0.5) * 0.7 * ((width - left - right) / slots);
    const y = top + (1 - axis.share(point.error)) * (height - top - bottom);
    return mark(px(slotOf(point)) + (point.layer === undefined ? 0 : shift), y, palette[index % palette.length]!, false, 4);
  });
  return {
    ...{ width, height, title: `Error of each tensor of ${label}` },
    body: [
      `<text x="${left}" y="20" class="title">${escaped(label)}: relative squared error of each tensor, by layer</text>`,
      ...logGrid(axis, width, height, frame),
      ...ticks,
      verticalName('error / values', height),
      ...legend(
        roles.map((name, i) => ({ name, color: palette[i % palette.length]! })),
        width - right,
        36,
      ),
      ...marks,
    ].join('\n'),
  };
}
