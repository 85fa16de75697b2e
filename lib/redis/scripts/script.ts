import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import { isNoScript, isReplyError } from '../redis-errors.js';

/** A Lua script, sent by its digest and in full only where Redis does not have it (after a restart or SCRIPT FLUSH). */
export class Script {
  private readonly digest: string;

  constructor(private readonly source: string) {
    this.digest = createHash('sha1').update(source).digest('hex');
  }

  /** Leaves the script with Redis, so that `run` finds it. What Redis answers does not matter: `run` sees for itself. */
  async load(redis: Redis): Promise<void> {
    try {
      await redis.script('LOAD', this.source);
    } catch (error) {
      if (!isReplyError(error)) {
        throw error;
      }
    }
  }

  /** NOSCRIPT means that nothing ran, so sending it again, in full, cannot do anything twice. */
  async run(redis: Redis, keys: string[], args: (string | Buffer)[]): Promise<unknown> {
    try {
      return await redis.evalsha(this.digest, keys.length, ...keys, ...args);
    } catch (error) {
      if (!isNoScript(error)) {
        throw error;
      }
      return redis.eval(this.source, keys.length, ...keys, ...args);
    }
  }
}
