import { MalformedEntryError } from '../errors.js';
import { decodeEntry, replyAddressOf, type IncomingEntry } from '../protocol/entry.js';
import { ALONE } from '../redis/consumers.js';
import { entryTime } from '../redis/replies.js';
import type { FailedHandler } from './event-outcome.js';

/** How an entry came to this instance, where it was not simply read. */
export interface DeliveryHistory {
  /** How often it has been delivered, this time included. Default 1. */
  deliveries?: number;
  /** Another instance had it before. */
  isTakenOver?: boolean;
  /** It runs alone, and belongs to a consumer of its own meanwhile. */
  isAlone?: boolean;
  /** It ran alone when the instance that had it died. */
  isSuspect?: boolean;
  /** A retry: the handlers that are still to succeed, and what those have failed with that are not run again. */
  retry?: EventRetry;
}

/** What is left to do of an event that is delivered again to the instance where it failed. */
export interface EventRetry {
  /** By their places in the list of the pattern's handlers. */
  handlers: readonly number[];
  /** The first of those that have used up their deliveries. */
  exhausted: FailedHandler | undefined;
}

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
  isAlone: boolean;
  isSuspect: boolean;
  /** Set where the entry breaks the rules of the wire: there is nothing to handle. */
  fault: MalformedEntryError | undefined;
  retry: EventRetry | undefined;
  /** This instance reads the topic by itself, as all others of its service do: set only where it does. */
  isBroadcast?: true;
  /** Another instance has taken it over: nothing that is done here is settled. */
  isLost: boolean;
  /** What ends its handlers and its replies, once they have begun. */
  execution: { revoke(reason: Error): void } | undefined;
}

/** A delivery of a request somebody waits for. */
export type RequestDelivery = Delivery & { entry: { id: string; reply: string } };

/** Whether somebody waits for an answer; otherwise it is an event, or a request that was replayed. */
export function isRequest(delivery: Delivery): delivery is RequestDelivery {
  return delivery.entry.id !== undefined && delivery.entry.reply !== undefined;
}

/** Takes an entry that was read apart. One that breaks the rules of the wire has a `fault`. */
export function openDelivery(
  stream: string,
  id: string,
  fields: readonly Buffer[],
  isInbox: boolean,
  history?: DeliveryHistory,
): Delivery {
  let fault: MalformedEntryError | undefined;
  let entry: IncomingEntry;
  try {
    entry = decodeEntry(fields);
  } catch (error) {
    if (!(error instanceof MalformedEntryError)) {
      throw error;
    }
    fault = error;
    entry = { ...UNREADABLE, ...replyAddressOf(fields) };
  }
  if (!isInbox) {
    // Whatever a topic's entry says, it is an event: every subscribed service gets it, and none may answer.
    entry.id = undefined;
    entry.reply = undefined;
  }
  // Nobody waits for an event: it is handled however late.
  const isTimed = entry.reply !== undefined && entry.ttl !== undefined;
  return {
    stream,
    id,
    entry,
    deliveries: history?.deliveries ?? 1,
    deadline: isTimed ? entryTime(id) + entry.ttl! : undefined,
    isInbox,
    isAlone: history?.isAlone ?? false,
    isSuspect: history?.isSuspect ?? false,
    fault,
    retry: history?.retry,
    isLost: false,
    execution: undefined,
  };
}

const UNREADABLE: IncomingEntry = {
  pattern: '',
  data: Buffer.alloc(0),
  id: undefined,
  reply: undefined,
  ttl: undefined,
  headers: undefined,
  codec: 'json',
  packet: false,
};

/** The consumer for which an entry is pending while an instance handles it. */
export function consumerOf({ isAlone }: Pick<Delivery, 'isAlone'>, instance: string): string {
  return isAlone ? instance + ALONE : instance;
}
