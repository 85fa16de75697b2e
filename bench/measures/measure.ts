import type { Comparison, Results } from '../results.js';
import type { Session } from '../session.js';
import type { SystemName } from '../systems/catalogue.js';

/** Something that is measured of several systems or under several circumstances. */
export interface Measure {
  title: string;
  /** What its figures are per. */
  counted: 'request' | 'event' | 'value' | 'message';
  /** Belongs to `--quick`. */
  isQuick: boolean;
  run(session: Session, results: Results): Promise<void>;
  /** What is set against what. */
  comparisons?: readonly Comparison[];
}

/** The one that all others are held against. */
export const OURS: SystemName = 'redis-streams';

/** For differences of a few percent on a machine that others use, too. */
const LEAST_FOR_SMALL_DIFFERENCES = 20;

/** How many rounds a measure of small differences runs. */
export function manyRounds({ options }: Session): number {
  return Math.max(options.rounds, LEAST_FOR_SMALL_DIFFERENCES);
}
