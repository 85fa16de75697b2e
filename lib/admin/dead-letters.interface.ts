import type { DeadLetterRecord } from '../protocol/dead-letter.js';

/** A dead letter. */
export interface StoredDeadLetter extends DeadLetterRecord {
  service: string;
  /** When it became a dead letter, by Redis' clock. */
  diedAt: Date;
  /** When the message was published, by Redis' clock; `undefined` where it was not noted. */
  publishedAt: Date | undefined;
}

/** Whose dead letters are meant. */
export interface DeadLetterScope {
  /** Default: the service of the module, or of the options. */
  service?: string;
}

/** Which dead letters are meant. All conditions must hold. */
export interface DeadLetterFilter extends DeadLetterScope {
  /** Only those of this pattern: as a route, so an object pattern in the form of a letter's own `pattern`. */
  pattern?: string;
  /** Only those that died at this time or later, by Redis' clock; a number is milliseconds since 1970. */
  from?: Date | number;
  /** Only those that died at this time or earlier. */
  to?: Date | number;
}

/** Which page of the dead letters is wanted. */
export interface DeadLetterQuery extends DeadLetterFilter {
  /** Where the page before ended: its `next`. */
  after?: string;
  /** How many letters a page has at most, 1 to 1,000. Default 50. */
  limit?: number;
}

/** Some dead letters, the oldest first. */
export interface DeadLetterPage {
  letters: StoredDeadLetter[];
  /**
   * What to give as `after` for the next page; `undefined` after the last one. A page may have fewer letters than
   * `limit`, or none, and still not be the last: a call looks at no more than 1,000 letters.
   */
  next: string | undefined;
}

/** What became of the dead letters that were to be replayed. */
export interface DeadLetterReplay {
  /** Those whose message is in the service's inbox now, as the entry `entryId`. */
  replayed: { id: string; entryId: string }[];
  /** The ids of which there is no dead letter: replayed, removed or dropped before, or never there. */
  missing: string[];
  /** Those in which nothing of a message is left that could be replayed. They stay. */
  empty: string[];
}

/** What became of the dead letters that were to be removed. */
export interface DeadLetterRemoval {
  removed: string[];
  /** The ids of which there is no dead letter. */
  missing: string[];
}
