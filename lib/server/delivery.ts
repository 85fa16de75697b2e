import { MalformedEntryError } from '../errors.js';
import { decodeEntry, type IncomingEntry } from '../protocol/entry.js';
import { entryTime, type StreamEntry } from '../redis/replies.js';

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

/** Takes an entry that was read apart. Throws a `MalformedEntryError`. */
export function openDelivery(stream: string, { id, fields }: StreamEntry, isInbox: boolean): Delivery {
  if (!fields) {
    throw new MalformedEntryError('it was deleted before it was read');
  }
  const entry = decodeEntry(fields);
  if (!isInbox) {
    // Whatever a topic's entry says, it is an event: every subscribed service gets it, and none may answer.
    entry.id = undefined;
    entry.reply = undefined;
  }
  // Nobody waits for an event: it is handled however late.
  const isTimed = entry.reply !== undefined && entry.ttl !== undefined;
  const deadline = isTimed ? entryTime(id) + entry.ttl! : undefined;
  return { stream, id, entry, deliveries: 1, deadline, isInbox };
}
