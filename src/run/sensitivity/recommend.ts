/** Three recipes for a memory and a runtime, with what they cost on the model itself. */
import { RecipeError } from '../../errors.ts';
import type { Model } from '../../format/types.ts';
import { loadKernels } from '../../kernels/kernels.ts';
import { type Fitted, fitLoss, fitTo, type PriceList, priceList } from '../../recipe/budget/fit.ts';
import type { Sensitivities } from '../../recipe/budget/types.ts';
import { parameters } from '../../recipe/resolve.ts';
import { parseRecipe, type Recipe } from '../../recipe/schema.ts';
import { runnableSpec } from '../language.ts';
import { changeOf, measureSensitivities, type SensitivityOptions, sensitivityWarnings } from './measure.ts';
import { type Runtime, runtimeNamed } from './runtimes.ts';
import { type Divergence, Trial } from './trial.ts';

export interface RecommendOptions extends SensitivityOptions {
  /** Bytes that weights and key/value cache may take together. */
  memory: number;
  runtime: string;
  /** Tokens in the key/value cache. */
  context: number;
  /** Mean KL that is still acceptable, nats (0.1). */
  maxKl?: number;
  /** Text on which the three are measured, apart from that of the calibration: ids [windows, window]. */
  evidence?: { ids: Int32Array; window: number };
  /** Where the sensitivities of a base recipe come from, instead of a measurement by these options. */
  sensitivities?(base: Recipe): Promise<Sensitivities>;
}

/** What a budget makes, and that budget: the same one makes it again. */
interface Budgeted extends Fitted {
  budget: number;
}

export interface Recommendation extends Budgeted {
  label: 'best' | 'balanced' | 'smallest';
  /** Weights and cache in the memory of the runtime. */
  memory: { weights: number; kvCache: number; total: number };
  /** Of all positions of the evidence; undefined where nothing was measured. */
  measured?: Divergence;
}

export interface Recommendations {
  runtime: Runtime;
  recipes: Recommendation[];
  warnings: string[];
}

/** Losses below this are not worth bytes where something smaller is asked for. */
const NEGLIGIBLE_KL = 1e-3;
const ACCEPTABLE_KL = 0.1;
/** Where no KL is known: bits per weight of the balanced and of the smallest recipe. */
const BLIND_BITS = { balanced: 5, smallest: 4.25 };

/**
 * best: the least KL that fits. smallest: the fewest bytes whose predicted KL is acceptable. balanced: the fewest bytes at the geometric
 * mean of both KLs.
 * @throws RecipeError where nothing fits
 */
export async function recommend(model: Model, options: RecommendOptions): Promise<Recommendations> {
  const runtime = runtimeNamed(options.runtime);
  const { layers, kvHeads, headDim } = runnableSpec(model);
  const kvCache = 2 * layers * kvHeads * headDim * options.context * runtime.cacheValue;
  const room = options.memory - kvCache;
  const wide = 4 * parameters(model);
  if (room <= 0 || (runtime.weights === 'f32' && wide > room)) throw noRoom(options, kvCache, room <= 0 ? undefined : wide);
  const base = parseRecipe({ version: 1, container: runtime.container });
  const sensitivities = await (options.sensitivities?.(base) ?? measureSensitivities(model, base, options));
  const prices = await priceList(model, base, sensitivities, { context: options.context });
  const best = await fitTo(prices, { bytes: runtime.weights === 'f32' ? Number.MAX_SAFE_INTEGER : room });
  const { smallest, balanced, warnings } = await smaller(prices, best, options.maxKl ?? ACCEPTABLE_KL);
  const found: Record<Recommendation['label'], Budgeted> = {
    best: await budgeted(prices, best),
    balanced: await budgeted(prices, balanced),
    smallest: await budgeted(prices, smallest),
  };
  const measured = await evidenceFor(model, prices, found, options);
  const three = Object.entries(found) as [Recommendation['label'], Budgeted][];
  return {
    runtime,
    recipes: three.map(([label, fitted]) => {
      const weights = runtime.weights === 'f32' ? wide : fitted.plan.load.weights;
      const memory = { weights, kvCache, total: weights + kvCache };
      return { ...fitted, label, memory, ...(measured && { measured: measured[label] }) };
    }),
    warnings: [...(runtime.note === undefined ? [] : [runtime.note]), ...warnings, ...sensitivityWarnings(sensitivities)],
  };
}

/** Room for the parts of a file that no tensor fills, and whose size follows from the choice. */
const MARGINS = [1, 1.002, 1.01];

/** What a budget of so many bytes chooses instead: it can be asked for again. Its loss is the least of that size. */
async function budgeted(prices: PriceList, one: Fitted): Promise<Budgeted> {
  let found: Budgeted | undefined;
  for (const margin of MARGINS) {
    const budget = Math.ceil(margin * one.plan.bytes);
    found = { ...(await fitTo(prices, { bytes: budget })), budget };
    if (found.loss <= 1.02 * one.loss) break;
  }
  return found!;
}

async function smaller(
  prices: PriceList,
  best: Fitted,
  acceptable: number,
): Promise<{ smallest: Fitted; balanced: Fitted; warnings: string[] }> {
  if (prices.unit === 'error') {
    const within = async (bitsPerWeight: number) => {
      if (best.plan.bitsPerWeight <= bitsPerWeight) return best;
      return fitTo(prices, { bitsPerWeight });
    };
    const warnings = ['the model cannot be run here: the recipes are chosen by relative errors of outputs, and no KL is known'];
    return { smallest: await within(BLIND_BITS.smallest), balanced: await within(BLIND_BITS.balanced), warnings };
  }
  if (best.loss >= acceptable) {
    const warnings = [`nothing that fits is predicted to stay below a KL of ${acceptable}: all three are the best that fits`];
    return { smallest: best, balanced: best, warnings };
  }
  const least = async (limit: number) => (await fitLoss(prices, limit)) ?? best;
  const smallest = await least(acceptable);
  const balanced = await least(Math.max(best.loss, Math.sqrt(Math.max(best.loss, NEGLIGIBLE_KL) * smallest.loss)));
  return { smallest, balanced, warnings: [] };
}

/** Rounds in which the smallest recipe is moved until its measured KL is acceptable too. */
const ROUNDS = 3;

/** Measures the three; a smallest one that turns out to lose too much is exchanged in `found`. */
async function evidenceFor(
  model: Model,
  prices: PriceList,
  found: Record<Recommendation['label'], Budgeted>,
  { evidence, threads, signal, onProgress, maxKl = ACCEPTABLE_KL }: RecommendOptions,
): Promise<Record<Recommendation['label'], Divergence> | undefined> {
  if (!evidence) return undefined;
  const kernels = await loadKernels();
  const trial = await Trial.open(model, threads === undefined ? {} : { threads });
  const measure = async (all: readonly Fitted[]) => {
    const changes = all.map(({ chosen }) => {
      const parts = prices.groups.flatMap(({ group }, g) => [...changeOf(kernels, group.tensors, chosen[g]!)]);
      return new Map(parts);
    });
    const onChange = (done: number, total: number) => onProgress?.(`KL of the recipes (${done} of ${total})`);
    return trial.divergences(evidence.ids, evidence.window, changes, { signal, onChange });
  };
  try {
    const [best, balanced, first] = await measure([found.best, found.balanced, found.smallest]);
    let smallest = first!;
    for (let round = 0; round < ROUNDS && smallest.kl > maxKl && found.smallest.loss > found.balanced.loss; round++) {
      const closer = await fitLoss(prices, found.smallest.loss * (maxKl / smallest.kl) * SAFETY);
      if (!closer || closer.loss < found.balanced.loss) break;
      found.smallest = await budgeted(prices, closer);
      [smallest] = (await measure([found.smallest])) as [Divergence];
    }
    return { best: best!, balanced: balanced!, smallest };
  } finally {
    await trial.close();
  }
}

/** KL grows a little faster than the sum of losses. */
const SAFETY = 0.98;

function noRoom({ memory, context, runtime }: RecommendOptions, kvCache: number, weights?: number): RecipeError {
  return new RecipeError({
    what:
      weights === undefined
        ? `the key/value cache of ${context} tokens alone takes ${kvCache} bytes`
        : `${runtime} holds weights as f32: ${weights} bytes, beside ${kvCache} bytes of key/value cache`,
    where: '--memory',
    value: memory,
    next: weights === undefined ? 'ask for a smaller --context or more memory' : 'ask for more memory or another runtime',
  });
}
