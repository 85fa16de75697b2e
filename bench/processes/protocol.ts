import type { SystemName } from '../systems/catalogue.js';

/** What of a system is switched for a comparison; the systems that lack it pay no attention. */
export interface Variant {
  /** Milliseconds; this package's option. */
  lease?: number;
  /** This package's option. */
  concurrency?: number;
  /** This package's option. */
  acknowledge?: 'after-handler' | 'on-receipt';
  /** Whether somebody listens to the hooks that report every message. */
  hooks?: boolean;
  /** Whether the handler of requests asks for its AbortSignal, as one does that can be cancelled. */
  signal?: boolean;
}

/** What the main process tells a child when it starts it. */
export interface ChildSetup {
  system: SystemName;
  /** Of the broker; of the server itself where there is none. */
  port: number;
  /** A server serves all of these, a client asks the first. */
  services: readonly string[];
  /** How many event patterns a server subscribes to, `noted.0` being the first. */
  topics: number;
  /** Over how many shards this package spreads its streams. */
  shards: number;
  /** Whether `port` is that of a node of a Redis Cluster. */
  isCluster: boolean;
  variant: Variant;
}

/** Requests, so many at a time, for a while or until there have been enough. */
export interface RequestOrder {
  inFlight: number;
  /** One of both. */
  seconds?: number;
  count?: number;
  /** Asks for an echo of so many characters instead of a sum. */
  payload?: number;
  /** Asks for a stream of so many values instead of a sum. */
  values?: number;
}

/** What a client measured of requests. Times in milliseconds. */
export interface RequestResult {
  requests: number;
  elapsed: number;
  p50: number;
  p95: number;
  p99: number;
}

/** Times by a clock that all processes of this machine share, in milliseconds. */
export interface PublishResult {
  from: number;
  to: number;
}

/** What a process has used. */
export interface ProcessUsage {
  /** Microseconds of CPU, user and system. */
  cpu: number;
  /** Bytes. */
  heap: number;
}

/** What children can be asked for. */
export interface Orders {
  /** `collect`: after a garbage collection. */
  usage: { argument: { collect: boolean }; result: ProcessUsage };
  requests: { argument: RequestOrder; result: RequestResult };
  publish: { argument: { count: number; inFlight: number }; result: PublishResult };
  /** Answered when as many events have been handled since, with the time of the last. */
  handled: { argument: { count: number }; result: { at: number } };
}

export type OrderName = keyof Orders;

/** An order on its way to a child. */
export interface Order<Name extends OrderName = OrderName> {
  id: number;
  name: Name;
  argument: Orders[Name]['argument'];
}

/** What a child writes back: `id` 0 says that it is ready. */
export interface Answer {
  id: number;
  result?: unknown;
  error?: string;
}
