/** Time and memory of child processes, and what a benchmark result says about its machine. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { type ChildOptions, type Json, runJson } from '../interop/cli.ts';
import { fewbitsCli } from '../interop/project.ts';

export interface Run {
  /** Wall time of the whole process, its start included. */
  seconds: number;
  /** Seconds of all cores: on a machine with other work the better measure. Undefined where /proc is missing. */
  processor?: number;
  /** Largest resident set, bytes; pages of mapped files count. Undefined where /proc is missing. */
  peak?: number;
  /** Largest anonymous part of it: without mapped files. */
  peakAnonymous?: number;
  json: Json;
}

const pollMilliseconds = 20;

/** Runs a compiled script with node and watches its memory. */
export async function measure(script: string, args: string[], env?: ChildOptions['env']): Promise<Run> {
  let [peak, peakAnonymous, processor] = [0, 0, 0];
  let timer: NodeJS.Timeout | undefined;
  const start = performance.now();
  try {
    const json = await runJson(script, args, {
      ...(env ? { env } : {}),
      onStart: (pid) => {
        timer = setInterval(() => {
          const memory = processMemory(pid);
          peak = Math.max(peak, memory.peak);
          peakAnonymous = Math.max(peakAnonymous, memory.anonymous);
          processor = Math.max(processor, processorSeconds(pid));
        }, pollMilliseconds);
      },
    });
    const seconds = (performance.now() - start) / 1000;
    return { seconds, json, ...(peak > 0 ? { processor, peak, peakAnonymous } : {}) };
  } finally {
    clearInterval(timer);
  }
}

export function measureFewbits(args: string[], env?: ChildOptions['env']): Promise<Run> {
  return measure(fewbitsCli, [...args, '--json', '--quiet'], env);
}

/** The kernel keeps the high-water mark itself, so that polling misses only what happens after the last look. */
function processMemory(pid: number): { peak: number; anonymous: number } {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const kilobytes = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);
    return { peak: 1024 * kilobytes('VmHWM'), anonymous: 1024 * kilobytes('RssAnon') };
  } catch {
    return { peak: 0, anonymous: 0 };
  }
}

/** Of all its threads; the kernel counts in hundredths of a second. */
function processorSeconds(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return 0;
  }
}

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function machine(): Json {
  return {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    memory: os.totalmem(),
    platform: `${os.platform()} ${os.arch()}`,
    node: process.version,
  };
}
