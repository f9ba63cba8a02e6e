/** A mean and how far it can be trusted, from f64 sums in the order of `add`. */
export class RunningMean {
  count = 0;
  sum = 0;
  #squares = 0;

  add(x: number): void {
    this.count++;
    this.sum += x;
    this.#squares += x * x;
  }

  get mean(): number {
    return this.sum / this.count;
  }

  /** Standard deviation of the mean, positions taken as independent: sqrt((E[x^2] - E[x]^2) / (n - 1)); 0 for one value. */
  get standardError(): number {
    if (this.count < 2) return 0;
    const variance = this.#squares / this.count - this.mean ** 2;
    return Math.sqrt(Math.max(0, variance) / (this.count - 1));
  }
}

/** Quantile of ascending values, linear between neighbours (numpy's and torch's default). */
export function quantile(sorted: ArrayLike<number>, fraction: number): number {
  const position = fraction * (sorted.length - 1);
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below]! + (position - below) * (sorted[above]! - sorted[below]!);
}
