import { ConnectError } from '../errors.js';
import type { CommandConnection } from './command-connection.js';
import type { Log } from './log.js';
import { isReplyError } from './redis-errors.js';
import { infoField } from './replies.js';

/** XAUTOCLAIM, XADD NOMKSTREAM and XTRIM MINID, among others, came with 6.2. */
const MINIMUM = [6, 2] as const;

/**
 * Refuses a server that is too old, and warns of one that may delete streams when memory runs short. Where INFO is
 * not allowed, nothing is known and nothing is said.
 */
export async function checkServer(connection: CommandConnection, log: Log): Promise<void> {
  let info: string;
  try {
    info = await connection.client.info();
  } catch (error) {
    if (isReplyError(error)) {
      return;
    }
    throw error;
  }
  const version = infoField(info, 'redis_version');
  if (version !== undefined && isOlder(version)) {
    throw new ConnectError(
      `Redis ${MINIMUM.join('.')} or newer is needed, and the server is ${version}. Upgrade Redis.`,
    );
  }
  const policy = infoField(info, 'maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    log.warn(
      `Redis has maxmemory-policy '${policy}': when memory runs short it may delete streams, and messages with them. ` +
        `Set it to 'noeviction'.`,
    );
  }
}

function isOlder(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < MINIMUM[0] || (major === MINIMUM[0] && minor < MINIMUM[1]);
}
