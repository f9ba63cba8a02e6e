import { openCheckpoint } from '../../checkpoint/index.ts';
import { FewbitsError, FileError, RecipeError } from '../../errors.ts';
import type { Model } from '../../format/types.ts';
import { openSource, read } from '../../io/index.ts';
import type { ByteSource } from '../../io/types.ts';
import { readImatrix } from './imatrix.ts';
import { readLegacyImatrix } from './legacy-imatrix.ts';
import { linearNames } from './names.ts';
import { imatrixReader, inputWidths, type StatisticsFile } from './reader.ts';
import { holdsStatistics, readStatisticsFile } from './statistics-file.ts';

/**
 * Opens statistics: our safetensors file, or llama.cpp's importance matrix as .gguf or .dat.
 * @param location a path, or bytes that are open, which the reader then closes
 * @param model what they are for: names are the model's, and widths must fit
 * @throws RecipeError when there are no statistics in it, FormatError when it is damaged, FileError when there is nothing
 */
export async function openStatistics(location: string | ByteSource, model?: Model): Promise<StatisticsFile> {
  const source = typeof location === 'string' ? await openSource({ kind: 'file', path: location }) : location;
  try {
    const widths = model && inputWidths(model);
    const kind = await kindOf(source);
    if (kind === 'safetensors') return await readStatisticsFile(await openCheckpoint({ source }), widths);
    const matrix = kind === 'gguf' ? await readImatrix(await openCheckpoint({ source })) : await readLegacyImatrix(source);
    const reader = imatrixReader(source.name, matrix, linearNames(model), widths);
    if (reader.linears().length === 0)
      throw new RecipeError({
        what: 'no tensor of the importance matrix is in the model',
        where: source.name,
        next: 'make it from this model',
      });
    await source.close();
    return reader;
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Whether a path names a file of statistics and not a model: the command line takes both. */
export async function isStatistics(path: string): Promise<boolean> {
  let source: ByteSource;
  try {
    source = await openSource({ kind: 'file', path });
  } catch (error) {
    if (error instanceof FileError) return false;
    throw error;
  }
  try {
    const kind = await kindOf(source);
    if (kind === 'dat') return source.name.endsWith('.dat');
    const checkpoint = await openCheckpoint({ source });
    return kind === 'gguf' ? checkpoint.gguf?.get('general.type')?.value === 'imatrix' : holdsStatistics(checkpoint);
  } catch (error) {
    // One file of several, or a damaged one: whoever opens it as a model says so.
    if (error instanceof FewbitsError) return false;
    throw error;
  } finally {
    await source.close();
  }
}

/** By the first bytes: a safetensors header follows its length and is a JSON object; the older importance matrix has no mark. */
async function kindOf(source: ByteSource): Promise<'gguf' | 'safetensors' | 'dat'> {
  const head = await read(source, 0, Math.min(source.size, 9));
  if (String.fromCharCode(...head.subarray(0, 4)) === 'GGUF' || source.name.endsWith('.gguf')) return 'gguf';
  return source.name.endsWith('.safetensors') || (head[8] === 0x7b && !source.name.endsWith('.dat')) ? 'safetensors' : 'dat';
}
