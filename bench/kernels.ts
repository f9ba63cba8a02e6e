/**
 * Encoding and decoding of one thread, memory to memory: the WebAssembly kernels beside ggml's own functions on the same f32
 * values. Turns alternate; GB/s count the f32 side.
 */
import { blockTypes, loadKernels } from 'fewbits/kernels';
import { Random } from 'fewbits/numeric';
import { type StorageType, storage, storageBytes } from 'fewbits/tensor';
import { NotInstalled } from '../interop/koffi.ts';
import { type Library, openLibrary } from '../interop/library.ts';
import { median } from './measure.ts';
import { fixed, progress, publish } from './results.ts';

const columns = 2048;
const rows = 128;
const values = rows * columns;
/** A turn repeats its work for at least this long. */
const turnSeconds = 0.15;

interface Row {
  type: string;
  encode: { fewbits: number; ggml?: number };
  decode: { fewbits: number; ggml?: number };
  /** Whether both encoders gave the same bytes; null without ggml. */
  equal: boolean | null;
}

export async function benchKernels({ runs }: { runs: number }): Promise<void> {
  const kernels = await loadKernels();
  const ggml = openGgml();
  const random = new Random(3);
  const x = Float32Array.from({ length: values }, () => 0.02 * random.gaussian()); // [rows, columns]
  const importance = Float32Array.from({ length: columns }, () => random.gaussian() ** 2); // [columns]

  const types = Object.keys(blockTypes).filter(
    (type): type is StorageType =>
      kernels.has(`encode_${type}`) && kernels.has(`decode_${type}`) && storage[type as StorageType].block > 1,
  );
  const results: Row[] = [];
  for (const type of types) {
    kernels.reset();
    const weights = blockTypes[type]!.imatrix === 'required' ? importance : null;
    const bytes = storageBytes(type, values);
    const [from, to, back, weightsAt] = [values * 4, bytes, values * 4, columns * 4].map((size) => kernels.alloc(size));
    kernels.f32(from!, values).set(x);
    if (weights) kernels.f32(weightsAt!, columns).set(weights);
    const encode = (): unknown => kernels.call(`encode_${type}`, from!, to!, rows, columns, weights ? weightsAt! : 0);
    const decode = (): unknown => kernels.call(`decode_${type}`, to!, back!, values);

    encode();
    const theirs = ggml && ggmlTurns(ggml, type, x, weights);
    const equal = theirs ? Buffer.compare(theirs.encoded(), kernels.bytes(to!, bytes)) === 0 : null;
    const speeds = { encode: turns(runs, encode, theirs?.encode), decode: turns(runs, decode, theirs?.decode) };
    results.push({ type, equal, ...speeds });
    progress(`${type}: ${fixed(speeds.encode.fewbits)} GB/s`);
  }

  publish({
    name: 'kernels',
    title: 'Kernels, one thread: GB of f32 a second',
    setting: { rows, columns, runs, ggml: ggml?.version ?? null },
    rows: results.map((row) => ({ ...row })),
    header: ['type', 'encode', 'ggml', 'ratio', 'decode', 'ggml', 'ratio', 'same bytes'],
    cells: results.map(({ type, encode, decode, equal }) => [
      type,
      ...[encode, decode].flatMap(({ fewbits, ggml }) => [
        fixed(fewbits),
        ggml === undefined ? '-' : fixed(ggml),
        ggml === undefined ? '-' : fixed(fewbits / ggml),
      ]),
      equal === null ? '-' : equal ? 'yes' : 'NO',
    ]),
  });
}

/** GB/s, the median of the runs. */
function turns(runs: number, ours: () => unknown, theirs?: () => unknown): { fewbits: number; ggml?: number } {
  const speeds: [number[], number[]] = [[], []];
  for (let run = 0; run < runs; run++) {
    speeds[0].push(speed(ours));
    if (theirs) speeds[1].push(speed(theirs));
  }
  const middle = (list: number[]): number => Number(median(list).toFixed(3));
  return { fewbits: middle(speeds[0]), ...(theirs ? { ggml: middle(speeds[1]) } : {}) };
}

function speed(work: () => unknown): number {
  const start = performance.now();
  let [rounds, seconds] = [0, 0];
  while (seconds < turnSeconds) {
    work();
    rounds++;
    seconds = (performance.now() - start) / 1000;
  }
  return (rounds * values * 4) / seconds / 1e9;
}

function ggmlTurns(library: Library, type: StorageType, x: Float32Array, weights: Float32Array | null) {
  const blocks = new Uint8Array(storageBytes(type, values));
  const out = new Float32Array(values);
  const id = storage[type].ggml!;
  // ggml writes the K of K-quants large: dequantize_row_q4_K.
  const dequantize = library.dequantizeRow(type.replace(/^(q\d)_k$/, '$1_K'));
  const encode = (): unknown => library.quantizeChunk(id, x, blocks, 0, rows, columns, weights);
  return {
    encode,
    decode: () => dequantize(blocks, out, values),
    encoded: () => {
      encode();
      return blocks;
    },
  };
}

function openGgml(): Library | undefined {
  try {
    return openLibrary();
  } catch (error) {
    if (!(error instanceof NotInstalled)) throw error;
    progress('ggml is not installed (npm ci in interop/): measuring fewbits alone');
    return undefined;
  }
}
