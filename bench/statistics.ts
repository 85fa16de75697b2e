/** What several rounds have brought. */
export interface Summary {
  median: number;
  min: number;
  max: number;
}

/** The geometric mean of ratios, and between what it lies with 95 %. */
export interface Interval {
  mean: number;
  low: number;
  high: number;
}

/** Quantiles of Student's t distribution for 95 %, by degrees of freedom from 1. */
const T_95 = [
  12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.2, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.1,
  2.09, 2.09, 2.08, 2.07, 2.07, 2.06, 2.06, 2.06, 2.05, 2.05, 2.05, 2.04,
];
/** For more than those; a little too wide rather than too narrow. */
const T_95_BEYOND = 2.04;

/** Of at least one value. */
export function summarize(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** Of ratios above 0; `undefined` for fewer than two. */
export function interval(ratios: readonly number[]): Interval | undefined {
  if (ratios.length < 2) {
    return undefined;
  }
  const logs = ratios.map(Math.log);
  const mean = logs.reduce((a, b) => a + b, 0) / logs.length;
  const variance = logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / (logs.length - 1);
  const margin = (T_95[logs.length - 2] ?? T_95_BEYOND) * Math.sqrt(variance / logs.length);
  return { mean: Math.exp(mean), low: Math.exp(mean - margin), high: Math.exp(mean + margin) };
}
