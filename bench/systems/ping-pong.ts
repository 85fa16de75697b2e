import { PingPongClient } from './ping-pong/client.js';
import { PingPongServer } from './ping-pong/server.js';
import type { BenchClient, BenchServer, Setup } from './system.js';
import type { Work } from './work.js';

/*
 * The least that requests over Redis Streams cost with ioredis, without Nest and without leases, retries, timeouts,
 * cancellation or limits: what a transport adds is what it costs above this.
 */

export function createServer({ port, topics }: Setup, work: Work): BenchServer {
  return new PingPongServer(port, topics, work);
}

export function createClient({ port }: Setup): BenchClient {
  return new PingPongClient(port);
}
