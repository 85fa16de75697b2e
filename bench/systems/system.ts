import type { Variant } from '../processes/protocol.js';
import type { Work } from './work.js';

/** Of a server or a client, in the process it runs in. */
export interface Setup {
  /** Of the broker; of the server itself where there is none. */
  port: number;
  service: string;
  topics: number;
  /** This package's option. */
  shards: number;
  /** Whether `port` is that of a node of a Redis Cluster. */
  isCluster: boolean;
  variant: Variant;
}

/** Answers to `sum` and `echo`, and, where the system can, to `count` by values; takes the events `noted.0` and on. */
export interface BenchServer {
  start(): Promise<void>;
  close(): Promise<void>;
}

/** Asks the server of its service, each method in the way the system's documentation shows. */
export interface BenchClient {
  connect(): Promise<void>;
  request(a: number, b: number): Promise<number>;
  echo(payload: string): Promise<string>;
  /** Publishes `noted.0`; resolves when the system says that it is published. */
  emit(n: number): Promise<void>;
  /** Asks for 0 to `count` - 1 as values of one answer, and adds them up. */
  stream(count: number): Promise<number>;
  close(): Promise<void>;
}

/** A system that is measured: what its module in this folder exports. */
export interface SystemModule {
  createServer: (setup: Setup, work: Work) => BenchServer;
  /** @param work for the system whose server is in the client's process */
  createClient: (setup: Setup, work: Work) => BenchClient;
}

/** For the method that a system lacks: the catalogue says so, and it is not called. */
export function notOffered(what: string): Promise<never> {
  return Promise.reject(new Error(`This system does not offer ${what}`));
}

/** The pattern of the events that are published. */
export const TOPIC = 'noted.0';
