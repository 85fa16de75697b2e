import { commandFailure, messageOf } from '../../redis/redis-errors.js';
import { isEarlier } from '../../redis/replies.js';
import type { Shard } from '../../redis/shard.js';
import type { Reporter } from '../reporter.js';

/** What was read of a topic at once. */
export interface ReadPart {
  pattern: string;
  stream: string;
  /** The last entry that had been read before. */
  after: string;
  /** The first one that was read now. */
  first: string;
}

/**
 * Finds out whether entries were removed before an instance read them: whoever trims a topic that is read as a broadcast
 * records the last entry that it removes. One between two that were read, next to each other, was missed. Looks when
 * something was read: what is removed later than that was not missed.
 */
export class Gaps {
  constructor(
    private readonly shard: Shard,
    private readonly reporter: Reporter,
  ) {}

  /** Looks, in the background. */
  check(parts: readonly ReadPart[]): void {
    const { commands, keys } = this.shard;
    if (!commands.isReady) {
      return;
    }
    commands.client.hmget(keys.floors, ...parts.map(({ stream }) => `cut ${stream}`)).then(
      (cuts) =>
        parts.forEach((part, i) => {
          const cut = cuts[i];
          if (cut && isEarlier(part.after, cut) && isEarlier(cut, part.first)) {
            this.report(part, cut);
          }
        }),
      (error: unknown) => {
        if (commandFailure(error) === 'refused') {
          this.reporter.warnings.report(
            'Gaps',
            `It could not be looked up whether broadcasts were missed: ${messageOf(error)}`,
          );
        }
      },
    );
  }

  private report({ pattern, stream, after, first }: ReadPart, cut: string): void {
    const { hooks, instance, warnings } = this.reporter;
    warnings.report(
      'Missed broadcasts',
      `Broadcasts of '${stream}' were removed before this instance read them: after ${after} it found ${first}, and entries up to ${cut} are gone. ` +
        `It was away or busy for too long, or the topic was full`,
    );
    hooks.report('broadcastsMissed', {
      service: instance.service,
      instance: instance.id,
      pattern,
      stream,
      after,
      until: cut,
    });
  }
}
