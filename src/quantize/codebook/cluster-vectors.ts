/** k-means of short vectors (pairs, quads) with a weight for every component: Σ w (x - center)² by Lloyd's iteration from k-means++. */
import { Random } from '../../numeric/random.ts';

export interface Vectors {
  /** [n, dim] */
  value: Float32Array;
  /** [n, dim]; 1 where there are none. */
  weight?: Float32Array;
  dim: number;
}

export interface VectorClusterOptions {
  /** The same seed gives the same centers (0). */
  seed?: number;
  /** At most this many rounds of Lloyd's iteration (25). */
  rounds?: number;
  /** Centers to begin with, [k, dim]; default k-means++ (Arthur and Vassilvitskii, 2007). */
  start?: ArrayLike<number>;
}

export interface VectorClusters {
  /** [k, dim] */
  centers: Float64Array;
  /** Σ w (x - center)² with these centers. */
  error: number;
  rounds: number;
}

/** k centers. A center that no vector is nearest to moves to the vector that costs most. */
export function clusterVectors(vectors: Vectors, k: number, options: VectorClusterOptions = {}): VectorClusters {
  const { value, weight, dim } = vectors;
  const n = value.length / dim;
  const { rounds: most = 25, seed = 0 } = options;
  const centers = options.start ? Float64Array.from(options.start) : spreadStart(vectors, k, new Random(seed));
  const labels = new Uint16Array(n);
  const before = new Uint16Array(n);
  const costs = new Float64Array(n);
  let error = assignVectors(vectors, centers, labels, costs);
  let rounds = 0;
  while (rounds < most && n > 0) {
    rounds++;
    const sums = new Float64Array(k * dim);
    const totals = new Float64Array(k * dim);
    const counts = new Int32Array(k);
    for (let i = 0, at = 0; i < n; i++) {
      const base = labels[i]! * dim;
      counts[labels[i]!]!++;
      for (let d = 0; d < dim; d++, at++) {
        const w = weight ? weight[at]! : 1;
        sums[base + d]! += w * value[at]!;
        totals[base + d]! += w;
      }
    }
    for (let j = 0; j < centers.length; j++) if (totals[j]! > 0) centers[j] = sums[j]! / totals[j]!;
    refill(vectors, centers, counts, costs);
    before.set(labels);
    error = assignVectors(vectors, centers, labels, costs);
    if (labels.every((label, i) => label === before[i])) break;
  }
  return { centers, error, rounds };
}

function refill({ value, dim }: Vectors, centers: Float64Array, counts: Int32Array, costs: Float64Array): void {
  for (let c = 0; c < counts.length; c++) {
    if (counts[c]! > 0) continue;
    let worst = 0;
    for (let i = 1; i < costs.length; i++) if (costs[i]! > costs[worst]!) worst = i;
    if (costs[worst] === 0) return;
    for (let d = 0; d < dim; d++) centers[c * dim + d] = value[worst * dim + d]!;
    costs[worst] = 0;
  }
}

/** k-means++: each center is a vector, drawn with a chance proportional to what it costs with the centers so far. */
function spreadStart({ value, weight, dim }: Vectors, k: number, random: Random): Float64Array {
  const n = value.length / dim;
  const centers = new Float64Array(k * dim);
  if (n === 0) return centers;
  const cost = new Float64Array(n).fill(Number.POSITIVE_INFINITY);
  let chosen = random.integer(n);
  for (let c = 0; c < k; c++) {
    const base = c * dim;
    for (let d = 0; d < dim; d++) centers[base + d] = value[chosen * dim + d]!;
    let total = 0;
    for (let i = 0, at = 0; i < n; i++) {
      let sum = 0;
      for (let d = 0; d < dim; d++, at++) {
        const error = value[at]! - centers[base + d]!;
        sum += error * error * (weight ? weight[at]! : 1);
      }
      if (sum < cost[i]!) cost[i] = sum;
      total += cost[i]!;
    }
    const draw = random.uniform() * total;
    let sum = 0;
    for (chosen = 0; chosen < n - 1; chosen++) {
      sum += cost[chosen]!;
      if (sum > draw) break;
    }
  }
  return centers;
}

/**
 * labels [n] = the nearest of centers [k, dim], k <= 65536; equal distances give the lowest label. Centers are tried outwards from the
 * nearest first component until that component alone costs too much.
 * @returns Σ w (x - center)²; `costs` [n] gets each vector's part
 */
export function assignVectors(
  { value, weight, dim }: Vectors,
  centers: Float64Array | Float32Array,
  labels: Uint8Array | Uint16Array,
  costs?: Float64Array,
): number {
  const k = centers.length / dim;
  const order = Uint32Array.from({ length: k }, (_, c) => c).sort((a, b) => centers[a * dim]! - centers[b * dim]! || a - b);
  const sorted = new Float64Array(k * dim); // [k, dim] in that order
  order.forEach((c, place) => {
    for (let d = 0; d < dim; d++) sorted[place * dim + d] = centers[c * dim + d]!;
  });
  const w = new Float64Array(dim).fill(1);
  let total = 0;
  for (let i = 0, base = 0; i < labels.length; i++, base += dim) {
    if (weight) for (let d = 0; d < dim; d++) w[d] = weight[base + d]!;
    const first = value[base]!;
    let low = 0;
    let high = k;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle * dim]! < first) low = middle + 1;
      else high = middle;
    }
    let least = Number.POSITIVE_INFINITY;
    let best = 0;
    for (let down = low - 1, up = low; down >= 0 || up < k; ) {
      const toDown = down >= 0 ? first - sorted[down * dim]! : Number.POSITIVE_INFINITY;
      const toUp = up < k ? sorted[up * dim]! - first : Number.POSITIVE_INFINITY;
      const isUp = toUp <= toDown;
      const nearest = isUp ? toUp : toDown;
      // A component without weight says nothing about distance.
      if (nearest * nearest * w[0]! > least) break;
      const place = isUp ? up++ : down--;
      const at = place * dim;
      let sum = nearest * nearest * w[0]!;
      for (let d = 1; d < dim; d++) {
        const error = value[base + d]! - sorted[at + d]!;
        sum += error * error * w[d]!;
      }
      if (sum < least || (sum === least && order[place]! < best)) {
        least = sum;
        best = order[place]!;
      }
    }
    labels[i] = best;
    if (costs) costs[i] = least;
    total += least;
  }
  return total;
}
