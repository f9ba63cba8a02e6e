/** Seconds of repeated work. */
export interface Times {
  best: number;
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
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { best: sorted[0]!, median, runs: sorted.length };
}
