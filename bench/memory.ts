/**
 * GPTQ of the first layers of the synthetic model of 1.2 billion parameters: the largest memory of the process beside the bound that
 * the plan gives. Text is bytes to that model's tokenizer; what it says does not matter.
 */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { makeCheckpoint, workFolder } from './checkpoint.ts';
import { measureFewbits } from './measure.ts';
import { fixed, megabytes, progress, publish } from './results.ts';

const orders = ['parallel', 'block', 'sequential'];
const quantization = '--method gptq --bits 4 --group 128 --layers 0-1 --samples 8 --context 512'.split(' ');

export async function benchMemory({ layers, threads }: { layers: number; threads: number }): Promise<void> {
  progress('making the checkpoint');
  const source = makeCheckpoint('huggingface', layers);
  const output = path.join(workFolder, 'gptq');
  const rows = [];
  for (const order of orders) {
    const options = [...quantization, '--calibration', order, '--threads', `${threads}`];
    const { json } = await measureFewbits(['plan', source, ...options]);
    const { seconds, peak } = await measureFewbits(['quantize', source, '-o', output, '--force', ...options]);
    const bound = Number(json['peakMemory']);
    rows.push({ order, bound, peak: peak ?? null, seconds, within: peak === undefined ? null : peak <= bound });
    progress(`${order}: ${megabytes(peak)} of ${megabytes(bound)} MB, ${fixed(seconds)} s`);
    rmSync(output, { recursive: true, force: true });
  }
  publish({
    name: 'memory',
    title: `Memory of GPTQ, two layers of hidden 2048 and intermediate 8192, 8 x 512 tokens, ${threads} threads`,
    setting: { layers, threads, quantization: quantization.join(' ') },
    rows,
    header: ['order', 'bound MB', 'peak MB', 'within', 'seconds'],
    cells: rows.map((row) => [
      row.order,
      megabytes(row.bound),
      megabytes(row.peak ?? undefined),
      row.within === null ? '-' : row.within ? 'yes' : 'NO',
      fixed(row.seconds),
    ]),
  });
}
