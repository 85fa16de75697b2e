import type { Shard } from '../redis/shard.js';
import { whereGroupIs } from '../redis/redis-errors.js';
import { execute } from '../redis/transaction.js';
import { REMEMBER_TAKEN_MS, TAKEN } from '../redis/scripts/renew-lease.js';
import { orphan } from '../redis/scripts/orphan.js';
import { retireConsumers } from '../redis/scripts/retire.js';
import type { Instance } from './context.js';
import { announceOrphans } from './control-stream.js';

/**
 * An instance leaves: what it has not settled goes to the orphans as it is, its lease and its consumers go, and the
 * others are told. Should it die in the middle of this, a sweep does the rest.
 * @param mayBeGivenMore Redis may still give entries to it, on a connection of which it does not know that it was lost:
 * sweeps look after the instance for some time then, and forget it
 */
export async function handOver(
  shard: Shard,
  { service, id }: Instance,
  streams: readonly string[],
  mayBeGivenMore: boolean,
): Promise<void> {
  const { client } = shard.commands;
  const lease = shard.keys.lease(service, id);
  const instances = shard.keys.instances(service);
  const orphaned: string[] = [];
  await Promise.all(
    streams.map(async (stream) => {
      const moved = await whereGroupIs(() =>
        orphan(client, { stream, lease, instances }, service, id, Infinity, 'left'),
      );
      if (moved) {
        orphaned.push(stream);
      }
    }),
  );
  if (mayBeGivenMore) {
    await client.set(lease, TAKEN, 'PX', REMEMBER_TAKEN_MS);
  } else {
    // At once: a sweep in between would find it dead.
    await execute(client.multi().unlink(lease).hdel(instances, id));
    await Promise.all(
      streams.map((stream) => whereGroupIs(() => retireConsumers(client, { stream, lease }, service, id))),
    );
  }
  for (const stream of orphaned) {
    await announceOrphans(shard, service, stream);
  }
}
