import type { RedisStreamsHooks } from '../../hooks.js';
import { ensureGroup } from '../../redis/groups.js';
import type { Log } from '../../redis/log.js';
import type { NamespaceConnection } from '../../redis/namespace-connection.js';
import { BurstLog } from '../../util/burst-log.js';

/** What a keeper of groups is made from. */
export interface GroupKeeperOptions {
  namespace: NamespaceConnection;
  service: string;
  hooks: RedisStreamsHooks;
  log: Log;
}

/** Makes the consumer groups of a service, and makes them again when they are gone; that is reported. */
export class GroupKeeper {
  private readonly known = new Set<string>();
  private readonly warnings: BurstLog;

  constructor(private readonly options: GroupKeeperOptions) {
    this.warnings = new BurstLog((line) => options.log.warn(line));
  }

  /** Resolves when the service has its group on all of these streams. */
  async ensure(streams: readonly string[]): Promise<void> {
    await Promise.all(streams.map((stream) => this.ensureOne(stream)));
  }

  close(): void {
    this.warnings.close();
  }

  private async ensureOne(stream: string): Promise<void> {
    const { namespace, service, hooks } = this.options;
    const made = await ensureGroup(namespace.commands, namespace.keys, stream, service);
    const wasThere = this.known.has(stream) || made?.hadFloor === true;
    this.known.add(stream);
    if (made && wasThere) {
      const start = made.from === '0-0' ? 'the beginning' : `what follows ${made.from}`;
      this.warnings.report(
        'Groups made again',
        `Consumer group '${service}' of '${stream}' was gone. It was made again and starts at ${start}`,
      );
      hooks.report('groupMade', { stream, group: service, from: made.from });
    }
  }
}
