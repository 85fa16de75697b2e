import type { IncomingEntry } from '../protocol/entry.js';

/** An entry that this instance has been given, and what is known of its delivery. */
export interface Delivery {
  stream: string;
  /** The id Redis gave the entry. */
  id: string;
  entry: IncomingEntry;
  /** How often it has been delivered, this time included. */
  deliveries: number;
  /** When its caller stops waiting, by Redis' clock; requests only. */
  deadline: number | undefined;
  /** Whether the entry is removed once it is acknowledged: entries of an inbox are, those of a topic have other readers. */
  isInbox: boolean;
}
