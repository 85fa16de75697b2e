import type { NamespaceConnection } from '../redis/namespace-connection.js';
import { isNoGroup } from '../redis/redis-errors.js';
import { orphan } from '../redis/scripts/orphan.js';
import { forgetInstance, retireConsumers } from '../redis/scripts/retire.js';
import type { Instance } from './context.js';
import { announceOrphans } from './control-stream.js';

/**
 * An instance leaves: what it has not settled goes to the orphans as it is, its lease and its consumers go, and the
 * others are told. Should it die in the middle of this, a sweep does the rest.
 */
export async function handOver(
  namespace: NamespaceConnection,
  { service, id }: Instance,
  streams: readonly string[],
): Promise<void> {
  const { client } = namespace.commands;
  const lease = namespace.keys.lease(service, id);
  const instances = namespace.keys.instances(service);
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
  await client.unlink(lease);
  await Promise.all(
    streams.map((stream) => whereGroupIs(() => retireConsumers(client, { stream, lease }, service, id))),
  );
  await forgetInstance(client, { instances, lease }, id);
  for (const stream of orphaned) {
    await announceOrphans(namespace, service, stream);
  }
}

async function whereGroupIs<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (isNoGroup(error)) {
      return undefined;
    }
    throw error;
  }
}
