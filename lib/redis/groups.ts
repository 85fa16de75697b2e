import type { CommandConnection } from './command-connection.js';
import { isBusyGroup } from './redis-errors.js';

/**
 * Makes a consumer group that starts at the beginning of its stream, and the stream where it is missing. Never at
 * `$`: what was written before the first start, or while the group was gone, would be lost. A group that exists is
 * left as it is.
 */
export async function ensureGroup(
  connection: CommandConnection,
  stream: string,
  group: string,
): Promise<void> {
  try {
    await connection.client.xgroup('CREATE', stream, group, '0', 'MKSTREAM');
  } catch (error) {
    if (!isBusyGroup(error)) {
      throw error;
    }
  }
}
