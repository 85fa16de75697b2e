import type { Shard } from '../redis/shard.js';
import { CONTROL_MAX_LENGTH } from '../redis/scripts/cancel.js';
import { ORPHANS_MARK } from '../redis/scripts/sweep.js';

/** Tells all instances of a service that entries of a stream wait to be taken over. Where Redis refuses, a sweep does. */
export async function announceOrphans(
  { commands, keys }: Shard,
  service: string,
  stream: string,
): Promise<void> {
  await commands.client.xadd(
    keys.control(service),
    'MAXLEN',
    '~',
    CONTROL_MAX_LENGTH,
    '*',
    'orphans',
    stream,
  );
}

/** The streams of which entries wait to be taken over. */
export async function orphanedStreams({ commands, keys }: Shard, service: string): Promise<string[]> {
  const names = await commands.client.hkeys(keys.instances(service));
  return names.filter((name) => name.startsWith(ORPHANS_MARK)).map((name) => name.slice(ORPHANS_MARK.length));
}
