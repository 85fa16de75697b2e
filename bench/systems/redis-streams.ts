import { RedisStreamsClient, RedisStreamsServer, type RedisConnectionOption } from 'nestjs-redis-streams';
import { NestServer } from './nest-app.js';
import { NestClient } from './nest-client.js';
import type { BenchClient, BenchServer, Setup } from './system.js';
import type { Work } from './work.js';

export function createServer(setup: Setup, work: Work): BenchServer {
  const { service, variant } = setup;
  const { lease, acknowledge, concurrency } = variant;
  const connection = connectionOf(setup);
  const strategy = new RedisStreamsServer({
    connection,
    service,
    ...shardsOf(setup),
    lease,
    acknowledge,
    concurrency,
  });
  if (variant.hooks) {
    strategy.hooks.on('read', listen).on('handled', listen);
  }
  return new NestServer({ strategy }, setup, work);
}

export function createClient(setup: Setup): BenchClient {
  const { service } = setup;
  return new NestClient(
    new RedisStreamsClient({ connection: connectionOf(setup), service, ...shardsOf(setup) }),
  );
}

/** Does what a metric would do at the least. */
const reports = new Map<string, number>();
function listen({ pattern }: { pattern: string }): void {
  reports.set(pattern, (reports.get(pattern) ?? 0) + 1);
}

function connectionOf({ port, isCluster }: Setup): RedisConnectionOption {
  const url = `redis://127.0.0.1:${port}`;
  return isCluster ? { cluster: { nodes: [url] } } : url;
}

/** Left out where there is one: a state of the package that is compared may not know the option. */
function shardsOf({ shards }: Setup): { shards?: number } {
  return shards === 1 ? {} : { shards };
}
