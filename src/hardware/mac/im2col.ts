/** A convolution as a matrix product: every place of the kernel is a token, what lies under it its inputs. */
import { RecipeError } from '../../errors.ts';
import type { MacLayer } from './types.ts';

export interface ConvolutionShape {
  channels: number;
  height: number;
  width: number;
  out: number;
  /** Height and width of the kernel. */
  kernel: readonly [number, number];
  stride?: number;
  padding?: number;
  dilation?: number;
}

/** Height and width of the output. @throws RecipeError for a kernel that fits nowhere */
export function convolutionOutput({
  height,
  width,
  kernel,
  stride = 1,
  padding = 0,
  dilation = 1,
}: ConvolutionShape): [number, number] {
  const along = (size: number, k: number) => Math.floor((size + 2 * padding - dilation * (k - 1) - 1) / stride) + 1;
  const output: [number, number] = [along(height, kernel[0]), along(width, kernel[1])];
  if (!output.every((n) => n > 0))
    throw new RecipeError({ what: 'the kernel does not fit the image', value: kernel, limit: [height, width] });
  return output;
}

/**
 * @param image [channels, height, width]
 * @param fill what padding holds: the zero point of the input, which stands for 0
 * @returns [places, channels x kernel], channel by channel as weights [out, channels, kh, kw] lie
 */
export function im2col(image: ArrayLike<number>, shape: ConvolutionShape, fill = 0): Float64Array {
  const { channels, height, width, kernel, stride = 1, padding = 0, dilation = 1 } = shape;
  if (image.length !== channels * height * width)
    throw new RecipeError({ what: 'not as many values as the image has', value: image.length, limit: channels * height * width });
  const [rows, cols] = convolutionOutput(shape);
  const inputs = channels * kernel[0] * kernel[1];
  const columns = new Float64Array(rows * cols * inputs);
  let at = 0;
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < cols; x++)
      for (let c = 0; c < channels; c++)
        for (let ky = 0; ky < kernel[0]; ky++)
          for (let kx = 0; kx < kernel[1]; kx++) {
            const [row, col] = [y * stride + ky * dilation - padding, x * stride + kx * dilation - padding];
            const inside = row >= 0 && row < height && col >= 0 && col < width;
            columns[at++] = inside ? image[(c * height + row) * width + col]! : fill;
          }
  return columns;
}

/** The layer that a convolution is. @param weights [out, channels, kh, kw] */
export function convolutionLayer(
  image: ArrayLike<number>,
  weights: ArrayLike<number>,
  shape: ConvolutionShape,
  rest: Pick<MacLayer, 'bias' | 'weightZero' | 'inputZero'> = {},
): MacLayer {
  const [rows, cols] = convolutionOutput(shape);
  const inputs = im2col(image, shape, rest.inputZero ?? 0);
  return {
    out: shape.out,
    in: shape.channels * shape.kernel[0] * shape.kernel[1],
    tokens: rows * cols,
    weights,
    inputs,
    ...rest,
  };
}
