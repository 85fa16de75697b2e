import type { CommandConnection } from './command-connection.js';
import type { Keys } from './keys.js';
import type { MadeGroup } from './replies.js';
import { makeGroup } from './scripts/make-group.js';

/**
 * Makes a consumer group, and its stream where that is missing. It starts after its floor, up to which the group has
 * settled everything, or, where none is recorded for this stream, at the beginning. Never at `$`: what was written
 * before the first start, or while the group was gone, would be lost. Inboxes have no floors. A group that exists is
 * left as it is.
 * @returns how it was made; `undefined` where it exists
 */
export function ensureGroup(
  connection: CommandConnection,
  keys: Keys,
  stream: string,
  group: string,
): Promise<MadeGroup | undefined> {
  return makeGroup(connection.client, stream, keys.floors, group);
}
