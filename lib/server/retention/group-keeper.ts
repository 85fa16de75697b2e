import { ensureGroup } from '../../redis/groups.js';
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

  private async ensureOne(stream: string): Promise<void> {
    const { commands, keys } = this.shard;
    const { hooks, instance, warnings } = this.reporter;
    const group = instance.service;
    const made = await ensureGroup(commands, keys, stream, group);
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
