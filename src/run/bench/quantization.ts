/** How fast weights are quantized and read back: one thread, memory to memory. */
import { decodeRows, encodeRows, loadKernels } from '../../kernels/index.ts';
import { Random } from '../../numeric/random.ts';
import { dequantizeTile, quantizeMatrix } from '../../quantize/index.ts';
import type { StorageType } from '../../tensor/storage.ts';
import { repeated } from './clock.ts';

export interface QuantizationRow {
  type: string;
  /** 10^9 bytes of f32 a second, in and out. */
  quantize: number;
  dequantize: number;
}

const [rows, cols] = [128, 2048];
const blockTypes: readonly StorageType[] = ['q4_0', 'q8_0', 'q4_k', 'q6_k'];
const integers = [
  { type: 'int4, groups of 128', bits: 4, granularity: { group: 128 } },
  { type: 'int8, rows', bits: 8, granularity: 'channel' },
] as const;

/** Integer grids as every container takes them, and block types of GGUF; normal values. */
export async function benchQuantization({ seconds = 0.1 }: { seconds?: number } = {}): Promise<QuantizationRow[]> {
  const random = new Random(3);
  const x = Float32Array.from({ length: rows * cols }, () => 0.02 * random.gaussian()); // [rows, cols]
  const speed = async (work: () => unknown) => x.byteLength / (await repeated(work, seconds)).best / 1e9;
  const found: QuantizationRow[] = [];
  for (const { type, bits, granularity } of integers) {
    const quantize = () =>
      quantizeMatrix(x, [rows, cols], {
        kind: 'integer',
        bits,
        symmetric: true,
        signed: true,
        granularity,
        range: 'absmax-narrow',
        scaleType: 'f16',
      });
    const { tile } = quantize();
    found.push({ type, quantize: await speed(quantize), dequantize: await speed(() => dequantizeTile(tile)) });
  }
  const kernels = await loadKernels();
  for (const type of blockTypes) {
    const blocks = encodeRows(kernels, type, x, cols);
    const quantize = await speed(() => encodeRows(kernels, type, x, cols));
    found.push({ type, quantize, dequantize: await speed(() => decodeRows(kernels, type, blocks, x.length)) });
  }
  return found;
}
