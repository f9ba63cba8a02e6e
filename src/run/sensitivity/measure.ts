/**
 * What each group of tensors costs in each scheme, in two steps.
 *
 * 1. The error of the outputs of each matrix, relative to the outputs: from statistics of the inputs, or from the weights alone.
 * 2. Where the model can be run: its KL with a single group quantized, for one scheme. The relation of both is the group's scale:
 *    the loss of a model is nearly linear in the relative squared errors of its layers, each with a factor of its own (Malinovskii et
 *    al., Pushing the Limits of LLM Quantization via the Linearity Theorem, arXiv 2411.17525, theorem 1), so that losses add up.
 */
import { RecipeError } from '../../errors.ts';
import { fingerprint } from '../../format/fingerprint.ts';
import type { Model, WeightTensor } from '../../format/types.ts';
import { loadKernels } from '../../kernels/kernels.ts';
import { linearOf } from '../../model/index.ts';
import { type Scheme, schemeLabel } from '../../quantize/scheme.ts';
import type { StatisticsReader } from '../../quantize/statistics.ts';
import { tensorGroups } from '../../recipe/budget/groups.ts';
import type { ErrorMeasure, GroupSensitivity, Sensitivities, TensorGroup } from '../../recipe/budget/types.ts';
import type { Recipe } from '../../recipe/schema.ts';
import { collectStatistics } from '../calibration/index.ts';
import { RowReader } from '../row-reader.ts';
import { type InputKnowledge, relativeErrors } from './errors.ts';
import { roundTrip } from './round-trip.ts';
import { type Change, Trial } from './trial.ts';
import type { SensitivityWindows } from './windows.ts';

export interface SensitivityOptions {
  /** Without windows no KL is measured, and statistics come from the file if there is one. */
  windows?: SensitivityWindows;
  /** Instead of statistics of the text. */
  statistics?: StatisticsReader;
  /** What the encoders of the run will weigh columns by: canonical name -> [cols]. */
  importance?: ReadonlyMap<string, Float32Array>;
  threads?: number;
  signal?: AbortSignal;
  onProgress?: (text: string) => void;
}

/**
 * @throws RecipeError for a container without choices, ModelError where windows are given for a model that cannot be run, NumericError
 * for weights or activations that are not finite
 */
export async function measureSensitivities(
  model: Model,
  recipe: Recipe,
  options: SensitivityOptions = {},
): Promise<Sensitivities> {
  const groups = tensorGroups(model, recipe);
  const measured = await groupErrors(model, groups, options);
  const { windows } = options;
  const unprobed = groups.map((group, i) => sensitivityOf(group, measured[i]!));
  const all = windows ? await probed(model, groups, unprobed, windows, options) : unprobed;
  return {
    version: 1,
    source: await fingerprint(model.checkpoint),
    container: recipe.container ?? 'fewbits',
    unit: windows ? 'kl' : 'error',
    tokens: {
      statistics: windows && !options.statistics ? windows.statistics.ids.length : 0,
      probes: windows?.probes.ids.length ?? 0,
    },
    groups: all,
  };
}

interface GroupErrors {
  measure: ErrorMeasure;
  /** By candidate. */
  errors: number[];
}

function sensitivityOf({ tensors, candidates }: TensorGroup, { measure, errors }: GroupErrors): GroupSensitivity {
  return {
    tensors: tensors.map(({ name }) => name),
    measure,
    scale: 1,
    probes: [],
    choices: candidates.map((scheme, i) => ({ scheme, error: errors[i]! })),
  };
}

async function groupErrors(model: Model, groups: readonly TensorGroup[], options: SensitivityOptions): Promise<GroupErrors[]> {
  const { statistics, windows, importance, signal, onProgress } = options;
  const kernels = await loadKernels();
  const reader = new RowReader();
  const found = new Map<string, GroupErrors>();
  const schemesOf = new Map(
    groups.flatMap(({ tensors, candidates }) => tensors.map((tensor) => [tensor.name, candidates] as const)),
  );
  const look = async (tensor: WeightTensor, known: InputKnowledge) => {
    signal?.throwIfAborted();
    const weights = importance?.get(tensor.name);
    onProgress?.(`errors of ${tensor.name} (${found.size + 1} of ${schemesOf.size})`);
    const inputs = { ...known, ...(weights && { importance: weights }) };
    found.set(tensor.name, await relativeErrors(kernels, reader, tensor, schemesOf.get(tensor.name)!, inputs));
  };
  const tensors = groups.flatMap((group) => group.tensors);
  try {
    if (windows && !statistics) {
      const byLinear = new Map(tensors.map((tensor) => [linearOf(tensor.name), tensor]));
      await collectStatistics(model, windows.statistics, {
        kinds: ['hessian'],
        // Whoever asks for more windows has the memory for them.
        bufferBytes: Number.POSITIVE_INFINITY,
        ...(signal && { signal }),
        onStatistics: async ({ linears }, { hessian }) => {
          for (const linear of linears) {
            const tensor = byLinear.get(linear);
            if (tensor) await look(tensor, hessian ? { hessian } : {});
          }
        },
      });
    }
    for (const tensor of tensors) if (!found.has(tensor.name)) await look(tensor, await knowledge(tensor, statistics));
  } finally {
    await reader.close();
  }
  return groups.map((group) => joined(group.tensors.map(({ name }) => found.get(name)!)));
}

async function knowledge({ name }: WeightTensor, statistics?: StatisticsReader): Promise<InputKnowledge> {
  const linear = linearOf(name);
  if (statistics?.has(linear, 'hessian')) return { hessian: await statistics.read(linear, 'hessian') };
  if (statistics?.has(linear, 'meansquare')) return { meansquare: await statistics.read(linear, 'meansquare') };
  return {};
}

/** Relative errors add up. The weakest measure is what the sum is worth. */
function joined(members: readonly GroupErrors[]): GroupErrors {
  const order: readonly ErrorMeasure[] = ['weights', 'meansquare', 'hessian'];
  const measure = order.find((one) => members.some((member) => member.measure === one))!;
  return { measure, errors: members[0]!.errors.map((_, i) => members.reduce((sum, { errors }) => sum + errors[i]!, 0)) };
}

/**
 * Relative error of the probe: about what 3 or 4 bits lose, where KL is well above its rounding. Measured on the default model, KL a
 * unit of error stays within 15 % of its mean from q2_k to q8_0 in every group: one probe is enough.
 */
const PROBE_ERROR = 0.01;

async function probed(
  model: Model,
  groups: readonly TensorGroup[],
  sensitivities: readonly GroupSensitivity[],
  { probes: { ids, context } }: SensitivityWindows,
  { importance, threads, signal, onProgress }: SensitivityOptions,
): Promise<GroupSensitivity[]> {
  const plans = sensitivities.map(({ choices }) => probesOf(choices));
  const changes = groups.flatMap((group, i) => plans[i]!.map(({ scheme }) => ({ group, scheme })));
  const kernels = await loadKernels();
  const trial = await Trial.open(model, threads === undefined ? {} : { threads });
  try {
    const measured = await trial.divergences(
      ids,
      context,
      changes.map(({ group, scheme }) => changeOf(kernels, group.tensors, scheme, importance)),
      { signal, onChange: (done, total) => onProgress?.(`KL of one group at a time (${done} of ${total})`) },
    );
    let at = 0;
    const probes = sensitivities.map((one, i) => {
      const probes = plans[i]!.map(({ scheme, error }) => {
        const { kl, error: klError } = measured[at++]!;
        return { scheme: schemeLabel(scheme), error, kl, klError };
      });
      return { ...one, probes };
    });
    return withScales(probes);
  } finally {
    await trial.close();
  }
}

/** The choice nearest to PROBE_ERROR; none where nothing is lost. */
function probesOf(choices: GroupSensitivity['choices']): { scheme: Scheme; error: number }[] {
  const distance = (error: number) => Math.abs(Math.log(error / PROBE_ERROR));
  const [best] = choices.filter(({ error }) => error > 0).sort((a, b) => distance(a.error) - distance(b.error));
  return best ? [best] : [];
}

/** Of the median scale: no group costs less for a unit of error, whatever a noisy probe says. */
const LEAST_SHARE = 0.01;

/**
 * KL = scale x error. A KL that is not above its standard error says only that the scale is no larger than that: such a group would
 * otherwise be free. Groups without a probe lose nothing in any scheme.
 */
export function withScales(groups: readonly GroupSensitivity[]): GroupSensitivity[] {
  const raw = groups.map(({ probes: [probe] }) => (probe ? Math.max(probe.kl, probe.klError ?? 0, 0) / probe.error : undefined));
  const known = raw.filter((scale) => scale !== undefined).sort((a, b) => a - b);
  const least = LEAST_SHARE * (known[Math.floor(known.length / 2)] ?? 0);
  return groups.map((group, i) => {
    const scale = Math.max(raw[i] ?? 0, raw[i] === undefined ? 0 : least);
    const [probe] = group.probes;
    const isFloor = probe !== undefined && scale > Math.max(probe.kl, 0) / probe.error;
    return { ...group, scale, ...(isFloor && { floored: true as const }) };
  });
}

/** What people should know of the measurements before they trust what follows from them. */
export function sensitivityWarnings({ groups }: Pick<Sensitivities, 'groups'>): string[] {
  const floored = groups.filter((group) => group.floored);
  if (floored.length === 0) return [];
  const names = floored.map(({ tensors }) => tensors[0]);
  const some = names.length > 3 ? `${names.slice(0, 3).join(', ')} ...` : names.join(', ');
  return [
    `the KL of ${floored.length} of ${groups.length} groups is within its noise, and a floor stands for it: ${some}; a longer --text measures better`,
  ];
}

/** All tensors in one scheme. */
export function changeOf(
  kernels: Awaited<ReturnType<typeof loadKernels>>,
  tensors: readonly WeightTensor[],
  scheme: Scheme,
  importance?: ReadonlyMap<string, Float32Array>,
): Change {
  return new Map(
    tensors.map(({ name, stored: { cols } }) => {
      const meansquare = importance?.get(name);
      return [name, (weight) => roundTrip(kernels, scheme, weight, cols, name, meansquare ? { meansquare } : {})] as const;
    }),
  );
}

/** @throws RecipeError where the sensitivities belong to another model or container */
export async function checkSensitivities(
  sensitivities: Sensitivities,
  model: Model,
  recipe: Recipe,
  where: string,
): Promise<void> {
  const container = recipe.container ?? 'fewbits';
  const same = sensitivities.source === (await fingerprint(model.checkpoint));
  if (same && sensitivities.container === container) return;
  throw new RecipeError({
    what: same
      ? `these sensitivities were measured for the container ${sensitivities.container}`
      : 'these sensitivities were measured on another model',
    where,
    value: same ? container : model.name,
    next: 'measure them again: leave the option out',
  });
}
