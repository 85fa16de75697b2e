import type { RedisConnectionOption } from '../../lib/index.js';

/** What the messages of the load look like, for those who send and those who handle them. */

/** The service that is asked, and hears the event; the other one hears the event only. */
export const ASKED = 'orders';
export const SERVICES = [ASKED, 'mail'] as const;
export type ServiceName = (typeof SERVICES)[number];

/** A request with one answer, which is the request's id. */
export const ASK = 'ask';
/** A request with several answers: the numbers from 1 to `VALUES`. */
export const COUNT = 'count';
export const VALUES = 5;
/** The event that both services hear. */
export const EVENT = 'placed';

/** What a request or an event carries. */
export interface Message {
  id: string;
  /** How long its handler takes, in milliseconds. */
  ms: number;
  /** An event: so many deliveries fail before one succeeds. */
  failures?: number;
  /** An event: the service in which it kills the process that handles it. */
  kills?: string;
}

/** More failures than a message has deliveries. */
export const ALWAYS = 1_000_000;

/** What the clients send in a second, each. */
export interface Rates {
  asks: number;
  counts: number;
  events: number;
}

/** What a client process is told. */
export interface ClientSetup {
  name: string;
  /** Survives JSON. */
  connection: RedisConnectionOption;
  book: string;
  seed: number;
  rates: Rates;
  /** Milliseconds. */
  timeout: number;
  /** The share of events that fail at first, and of those that always fail. */
  failing: number;
  doomed: number;
}

/** What a server process is told. */
export interface ServerSetup {
  /** Survives JSON. */
  connection: RedisConnectionOption;
  book: string;
  service: ServiceName;
  /** Milliseconds. */
  lease: number;
  maxDeliveries: number;
}

/** With this both end when Redis refuses them at their start: whoever runs them starts them again. */
export const NOT_YET = 75;

/** What both say once they work. */
export const AT_WORK = 'at work';
