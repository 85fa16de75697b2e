import { EventEmitter } from 'node:events';
import { isPromise } from './util/promise.js';

/** What all reports about one message have in common. */
export interface MessageReport {
  service: string;
  /** The instance that reports. */
  instance: string;
  pattern: string;
  /** The entry's id in its stream. */
  entryId: string;
  stream: string;
  /** A `broadcast` is an event that each instance of a service gets. */
  kind: 'request' | 'event' | 'broadcast';
  /** How often it has been delivered, this time included. */
  deliveries: number;
}

/** What the layers of a server and its clients report, by name. Durations are in milliseconds. */
export interface RedisStreamsReports {
  /** The connection for commands is usable, for the first time or again. */
  connected: { address: string };
  /** The connection for commands was lost; it is being made again. */
  lost: { address: string; reason: string };
  /** An entry was taken from a stream. */
  read: MessageReport;
  /** The handlers of a message have ended. `aborted`: they were stopped, or their result is for nobody. */
  handled: MessageReport & {
    outcome: 'succeeded' | 'failed' | 'aborted';
    duration: number;
    /** What they failed with. */
    error?: unknown;
  };
  /** A failed event waits for its next delivery. */
  retried: MessageReport & { delay: number; error: unknown };
  /** A message was moved to the dead letters. */
  deadLettered: MessageReport & { deadLetterId: string; reason: string; error?: unknown };
  /** Dead letters were dropped, the oldest first, because there are more than `deadLetters.maxLength`. */
  deadLettersDropped: { service: string; count: number };
  /** A message of an instance that died, or that handed it over, is handled here. */
  takenOver: MessageReport;
  /** An instance counts as dead, and its entries are free to be taken. */
  instanceDied: { service: string; instance: string; entries: number };
  /** This instance was away for longer than its lease; `lost` of its messages had been taken over. */
  fenced: { service: string; instance: string; awayFor: number; lost: number };
  /** A consumer group that was gone was made again, starting after the entry `from`. */
  groupMade: { stream: string; group: string; from: string };
  /** Entries were cut before they were handled: by `whenFull: 'drop-oldest'`, or by somebody else's hand. */
  entriesLost: { stream: string; count: number; reason: 'drop-oldest' | 'deleted' };
  /** A request was dropped unhandled because its deadline had passed. */
  expired: MessageReport;
  /** A request was cancelled by its caller. `wasRunning`: its handler was stopped. */
  cancelled: MessageReport & { wasRunning: boolean };
  /** A broadcast was given up by this instance: its handlers failed as often as they may, or there is nothing to handle. */
  broadcastDropped: MessageReport & { error: unknown };
  /** Broadcasts were removed before this instance read them: entries later than `after`, up to `until`. */
  broadcastsMissed: {
    service: string;
    instance: string;
    pattern: string;
    stream: string;
    after: string;
    until: string;
  };
  /** A service was not seen for `forgetAfter`, and does not hold back events any more. */
  subscriptionForgotten: { service: string; pattern: string; lastSeen: Date };
}

/** The name of a report. */
export type ReportName = keyof RedisStreamsReports;

/** Is told of a report. What it throws, or an asynchronous one rejects with, is logged and changes nothing. */
export type ReportListener<Name extends ReportName> = (report: RedisStreamsReports[Name]) => void;

/**
 * Tells whoever wants to know what a server and its clients do: for metrics, tracing and alarms. Listeners are called
 * at once and in place, so they should be quick. While nobody listens to a name, nothing is made for it.
 */
export class RedisStreamsHooks {
  private readonly emitter = new EventEmitter();
  private readonly counts: Partial<Record<ReportName, number>> = {};

  constructor(private readonly onListenerError: (error: unknown, name: ReportName) => void) {
    this.emitter.setMaxListeners(0);
  }

  on<Name extends ReportName>(name: Name, listener: ReportListener<Name>): this {
    this.emitter.on(name, listener);
    this.counts[name] = this.emitter.listenerCount(name);
    return this;
  }

  off<Name extends ReportName>(name: Name, listener: ReportListener<Name>): this {
    this.emitter.off(name, listener);
    this.counts[name] = this.emitter.listenerCount(name);
    return this;
  }

  /** Whether a report would reach anybody: ask before you make one on a busy path. */
  listens(name: ReportName): boolean {
    return (this.counts[name] ?? 0) > 0;
  }

  /** Calls the listeners of a name. */
  report<Name extends ReportName>(name: Name, report: RedisStreamsReports[Name]): void {
    for (const listener of this.emitter.listeners(name) as ReportListener<Name>[]) {
      try {
        const result: unknown = listener(report);
        if (isPromise(result)) {
          result.then(undefined, (error: unknown) => this.onListenerError(error, name));
        }
      } catch (error) {
        this.onListenerError(error, name);
      }
    }
  }
}
