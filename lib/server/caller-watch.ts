import { CallerGoneError } from '../errors.js';
import { BLOCK_GRACE_MS, BLOCK_MS } from '../redis/blocking-reader.js';
import type { Shard } from '../redis/shard.js';
import type { RequestExecution } from './request-execution.js';

/** A handler that has run for so long is worth the question whether its caller is still there. */
const LONG_MS = 5_000;

/** A client that has lost its reply stream makes it again within this time. */
const GONE_AFTER_MS = BLOCK_MS + BLOCK_GRACE_MS;

/** Clients that are asked for at once. */
const MAX_AT_ONCE = 100;

/**
 * Stops handlers that run long for callers that are gone. One whose reply is written notices by itself; this is for
 * those that compute, or wait, for longer than their client's reply stream lives on.
 */
export class CallerWatch {
  private readonly missingSince = new Map<string, number>();
  private next = 0;

  constructor(
    private readonly shard: Shard,
    private readonly executions: () => Iterable<RequestExecution>,
  ) {}

  /** Looks once. Rejects where Redis cannot be asked. */
  async look(): Promise<void> {
    const now = performance.now();
    const clients = new Map<string, RequestExecution[]>();
    for (const execution of this.executions()) {
      if (now - execution.startedAt >= LONG_MS) {
        const known = clients.get(execution.client);
        if (known) {
          known.push(execution);
        } else {
          clients.set(execution.client, [execution]);
        }
      }
    }
    for (const client of this.missingSince.keys()) {
      if (!clients.has(client)) {
        this.missingSince.delete(client);
      }
    }
    // Some at a time, all of them in the end.
    const all = [...clients];
    const first = this.next < all.length ? this.next : 0;
    this.next = first + MAX_AT_ONCE;
    await Promise.all(
      all.slice(first, this.next).map(([client, executions]) => this.lookFor(client, executions)),
    );
  }

  private async lookFor(client: string, executions: readonly RequestExecution[]): Promise<void> {
    const key = this.shard.keys.replies(client);
    if ((await this.shard.connectionFor(key).client.exists(key)) === 1) {
      this.missingSince.delete(client);
      return;
    }
    const since = this.missingSince.get(client) ?? performance.now();
    this.missingSince.set(client, since);
    if (performance.now() - since >= GONE_AFTER_MS) {
      for (const execution of executions) {
        execution.lifetime.abort(new CallerGoneError(execution.delivery.entry.pattern));
      }
    }
  }
}
