import type { Redis } from 'ioredis';
import { ConnectError } from '../errors.js';
import { isAuthenticationError, isSelectError, messageOf } from './redis-errors.js';

/**
 * Opens a connection and waits until it is usable. While Redis is away it is tried again until the time is up.
 * Throws a `ConnectError` that says where Redis was looked for and what the last attempt met; the connection is
 * closed then.
 */
export async function openRedis(redis: Redis, address: string, timeoutMs: number): Promise<void> {
  let lastError: unknown;
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => finish(reject), timeoutMs);
      const onReady = (): void => finish(resolve);
      const onEnd = (): void => finish(reject);
      const onError = (error: unknown): void => {
        lastError = error;
        if (isAuthenticationError(error) || isSelectError(error)) {
          finish(reject);
        }
      };
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        redis.off('ready', onReady).off('end', onEnd).off('error', onError);
        settle();
      };
      redis.on('ready', onReady).on('end', onEnd).on('error', onError);
      // Rejects at the first failed attempt, while ioredis goes on trying: the events above decide.
      redis.connect().catch((error: unknown) => (lastError ??= error));
    });
  } catch {
    redis.disconnect();
    const reason = lastError === undefined ? '' : `: ${messageOf(lastError)}`;
    throw new ConnectError(
      isAuthenticationError(lastError) || isSelectError(lastError)
        ? `Redis at ${address} refused the connection${reason}. ` +
            `Check user, password and database in the option 'connection'.`
        : `Cannot connect to Redis at ${address} within ${timeoutMs} ms${reason}. ` +
            `Check the option 'connection', and that Redis is running.`,
      { cause: withoutCommand(lastError) },
    );
  }
}

/** ioredis attaches the command that failed, and with AUTH or HELLO the password, which an error must not carry into a log. */
function withoutCommand(error: unknown): unknown {
  if (!(error instanceof Error)) {
    return error;
  }
  const { name, message, code } = error as Error & { code?: unknown };
  return Object.assign(new Error(message), { name, ...(code === undefined ? {} : { code }) });
}
