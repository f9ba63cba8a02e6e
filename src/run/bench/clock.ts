/** Seconds of repeated work. */
export interface Times {
  best: number;
  /** A quarter of the runs is faster. What is reported: other work on the machine only slows, and on a quiet one it is the median. */
  typical: number;
  median: number;
  runs: number;
}

/** Once to warm up, then until `seconds` are over, at least `least` times. */
export async function repeated(work: () => Promise<unknown> | unknown, seconds: number, least = 3): Promise<Times> {
  await work();
  const all: number[] = [];
  const start = performance.now();
  while (all.length < least || performance.now() - start < 1000 * seconds) {
    const from = performance.now();
    await work();
    all.push((performance.now() - from) / 1000);
  }
  return timesOf(all);
}

/** @param seconds of each run, at least one */
export function timesOf(seconds: readonly number[]): Times {
  const sorted = seconds.toSorted((a, b) => a - b);
  const at = (share: number) => {
    const place = share * (sorted.length - 1);
    const [below, rest] = [Math.floor(place), place % 1];
    return sorted[below]! + rest * ((sorted[below + 1] ?? sorted[below]!) - sorted[below]!);
  };
  return { best: sorted[0]!, typical: at(0.25), median: at(0.5), runs: sorted.length };
}
