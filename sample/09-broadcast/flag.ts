/** A feature has a topic of its own: `flag.checkout`. */
const PREFIX = 'flag.';

/** One segment behind the prefix. */
export const EACH_FLAG = `${PREFIX}*`;

/** One segment behind the prefix, or more. */
export const ALL_BELOW_FLAG = `${PREFIX}>`;

/** What is published when a feature is switched. */
export interface FlagChange {
  on: boolean;
}

export function patternOf(feature: string): string {
  return PREFIX + feature;
}

export function featureOf(pattern: string): string {
  return pattern.slice(PREFIX.length);
}
