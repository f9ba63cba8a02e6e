/** The ranges of static inputs: from the calibration text as it passes, or from a statistics file. */
import type { Layout } from '../../format/types.ts';
import { linearOf } from '../../model/index.ts';
import { type InputObserver, inputObserver, staticActivations } from '../../quantize/index.ts';
import type { ObserverName } from '../../quantize/observer/types.ts';
import type { InputScheme } from '../../quantize/scheme.ts';
import type { Statistics } from '../../quantize/statistics.ts';
import type { ActivationScheme } from '../../quantized/types.ts';
import { staticInput } from '../../recipe/needs.ts';
import type { Group } from '../../recipe/nodes.ts';
import type { TensorWriter } from '../tensor-writer.ts';

/** What was found for a static input, for the report. */
export interface InputRecord {
  linear: string;
  observer: ObserverName;
  /** The only scale, or the smallest and the largest. */
  scale: number | readonly [least: number, most: number];
  /** Of the only scale. */
  zero?: number;
}

/** One observer for all linears of a group that say the same. */
interface Watched {
  scheme: InputScheme;
  tensors: number[];
  observer: InputObserver;
}

export class StaticInputs {
  readonly #layout: Layout;
  readonly #writer: TensorWriter;
  /** From capture to solve. */
  readonly #watched = new Map<Group, Watched[]>();

  constructor({ layout, writer }: { layout: Layout; writer: TensorWriter }) {
    this.#layout = layout;
    this.#writer = writer;
  }

  /** What is shown of these groups is observed; undefined where nothing is static. */
  watch(groups: readonly Group[]): ((group: number, x: Float32Array) => void) | undefined {
    const all = groups.map((group) => {
      const watched = this.#schemesOf(group).map(([scheme, tensors]) => ({
        scheme,
        tensors,
        observer: inputObserver(scheme, group.width),
      }));
      if (watched.length > 0) this.#watched.set(group, watched);
      return watched;
    });
    if (!all.some(({ length }) => length > 0)) return undefined;
    return (group, x) => {
      for (const { observer } of all[group]!) observer.observe(x);
    };
  }

  /** Puts scales and zero points in their places: of what was watched, or of the extremes of a file. */
  async write(group: Group, { min, max }: Statistics): Promise<void> {
    const watched = this.#watched.get(group);
    this.#watched.delete(group);
    const found: [readonly number[], ActivationScheme][] =
      watched?.map(({ scheme, tensors, observer }) => [tensors, { ...scheme, range: observer.range() }]) ??
      this.#schemesOf(group).map(([scheme, tensors]) => {
        const per = scheme.per as Exclude<InputScheme['per'], 'token'>;
        return [tensors, staticActivations({ ...scheme, per }, { min: min!, max: max! })];
      });
    for (const [tensors, scheme] of found) for (const tensor of tensors) await this.#writer.writeInput(tensor, scheme);
  }

  /** As the output holds them: also those that an earlier run found. */
  async records(): Promise<InputRecord[]> {
    const records: InputRecord[] = [];
    for (const [index, { source, scheme }] of this.#layout.tensors.entries()) {
      const input = staticInput(scheme);
      const levels = input && (await this.#writer.inputLevels(index));
      if (!levels) continue;
      const { scale, zero } = levels;
      const only = scale.length === 1;
      records.push({
        linear: linearOf(source),
        observer: input.observer ?? 'minmax',
        scale: only ? scale[0]! : [scale.reduce((a, b) => Math.min(a, b)), scale.reduce((a, b) => Math.max(a, b))],
        ...(only && zero && { zero: zero[0]! }),
      });
    }
    return records;
  }

  #schemesOf({ tensors }: Group): [InputScheme, number[]][] {
    const schemes = new Map<string, [InputScheme, number[]]>();
    for (const tensor of tensors) {
      const scheme = staticInput(this.#layout.tensors[tensor]!.scheme);
      if (!scheme) continue;
      const key = JSON.stringify(scheme);
      const [, members] = schemes.get(key) ?? schemes.set(key, [scheme, []]).get(key)!;
      members.push(tensor);
    }
    return [...schemes.values()];
  }
}
