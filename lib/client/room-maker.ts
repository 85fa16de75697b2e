import type { WhenFull } from '../options.js';
import type { Shard } from '../redis/shard.js';
import { isReplyError, isScriptForbidden } from '../redis/redis-errors.js';
import type { MadeRoom } from '../redis/replies.js';
import { makeRoom } from '../redis/scripts/make-room.js';
import type { BurstLog } from '../util/burst-log.js';

/** How many entries a stream may hold, and what happens then. */
export interface StreamLimits {
  readonly maxLength: number;
  readonly whenFull: WhenFull;
}

/**
 * Makes room in a full stream, where that is allowed: a topic that nobody subscribes to is cut without a word, and
 * anything else only where the user chose to drop the oldest, which is reported.
 */
export class RoomMaker {
  private scriptsAllowed = true;

  constructor(
    private readonly shard: Shard,
    private readonly warnings: BurstLog,
  ) {}

  /**
   * Resolves to whether there is room now; rejects when the connection was lost.
   * @param pattern of a topic; `undefined` for an inbox
   */
  async make(stream: string, pattern: string | undefined, limits: StreamLimits): Promise<boolean> {
    const dropsOldest = limits.whenFull === 'drop-oldest';
    if (pattern === undefined && !dropsOldest) {
      return false;
    }
    try {
      const { hasRoom, cut, isNeeded } = await this.cut(stream, pattern, limits.maxLength, dropsOldest);
      if (cut > 0 && isNeeded) {
        this.report(stream, cut);
      }
      return hasRoom;
    } catch (error) {
      if (isReplyError(error)) {
        return false;
      }
      throw error;
    }
  }

  private async cut(
    stream: string,
    pattern: string | undefined,
    maxLength: number,
    dropsOldest: boolean,
  ): Promise<MadeRoom> {
    const { commands, keys } = this.shard;
    const { subscriptions, floors } = keys;
    if (this.scriptsAllowed) {
      try {
        const request = { stream, subscriptions, floors, maxLength, pattern, dropsOldest };
        return await makeRoom(commands.client, request);
      } catch (error) {
        if (!isReplyError(error)) {
          throw error;
        }
        // Most likely the user may not run scripts, or not what this one does; XTRIM tells of anything else.
        this.scriptsAllowed = !isScriptForbidden(error);
      }
    }
    // Whether anybody needs the stream is not known.
    return dropsOldest
      ? { hasRoom: true, cut: await commands.client.xtrim(stream, 'MAXLEN', maxLength), isNeeded: true }
      : { hasRoom: false, cut: 0, isNeeded: true };
  }

  private report(stream: string, count: number): void {
    this.warnings.report(
      'Entries dropped',
      `The oldest ${count} entries of the full stream '${stream}' were dropped, handled or not (option 'whenFull')`,
    );
    this.shard.hooks.report('entriesLost', { stream, count, reason: 'drop-oldest' });
  }
}
