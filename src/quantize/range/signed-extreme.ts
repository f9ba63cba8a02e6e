import { extremes } from './minmax.ts';
import type { Range } from './types.ts';

/**
 * The value of largest magnitude, with its sign, becomes code -2^(b-1) exactly, so the scale may be negative: ggml's Q4_0 and
 * ONNX's MatMulNBits. Of two equal extremes the negative one counts.
 */
export const signedExtreme: Range = {
  name: 'signed-extreme',
  schemes: 'symmetric',
  options: [],
  describe: () => 's = extreme / -2^(b-1), extreme = the value of largest magnitude with its sign',
  limits: extremes,
  scale: ({ min, max }, { grid, round }) => round((max > -min ? max : min) / -grid.half),
};
