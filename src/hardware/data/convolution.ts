import type { ConvolutionShape } from '../mac/im2col.ts';

/** A layer of ResNet-50, conv3: 3 x 3, 128 to 128 channels, 28 x 28 (He et al., arXiv 1512.03385, table 1). */
export const resnetConvolution: ConvolutionShape = { channels: 128, height: 28, width: 28, out: 128, kernel: [3, 3], padding: 1 };
