import { ensureGroup } from '../../redis/groups.js';
import type { MadeGroup } from '../../redis/replies.js';
import { makeGroupOfTopic } from '../../redis/scripts/make-group.js';
import type { Shard } from '../../redis/shard.js';
import type { Reporter } from '../reporter.js';

/** Makes the consumer groups of a service, and makes them again when they are gone; that is reported. */
export class GroupKeeper {
  private readonly known = new Set<string>();

  constructor(
    private readonly shard: Shard,
    private readonly reporter: Reporter,
  ) {}

  /** Resolves when the service has its group on all of these streams. */
  async ensure(streams: readonly string[]): Promise<void> {
    await Promise.all(streams.map((stream) => this.ensureOne(stream)));
  }

  /** The same for a topic that a wildcard means. @returns false where there is no such topic any more */
  async ensureTopic(pattern: string): Promise<boolean> {
    const { commands, keys } = this.shard;
    const { service } = this.reporter.instance;
    const made = await makeGroupOfTopic(commands.client, keys, pattern, service);
    if (made === 'gone') {
      return false;
    }
    this.note(keys.topic(pattern), made);
    return true;
  }

  /** A stream is read no more. */
  forget(stream: string): void {
    this.known.delete(stream);
  }

  private async ensureOne(stream: string): Promise<void> {
    const { commands, keys } = this.shard;
    this.note(stream, await ensureGroup(commands, keys, stream, this.reporter.instance.service));
  }

  private note(stream: string, made: MadeGroup | undefined): void {
    const { hooks, instance, warnings } = this.reporter;
    const group = instance.service;
    const wasThere = this.known.has(stream) || made?.hadFloor === true;
    this.known.add(stream);
    if (made && wasThere) {
      const start = made.from === '0-0' ? 'at the beginning' : `after ${made.from}`;
      warnings.report(
        'Groups made again',
        `Consumer group '${group}' of '${stream}' was gone. It was made again and starts ${start}`,
      );
      hooks.report('groupMade', { stream, group, from: made.from });
    }
  }
}
