import { ConnectError, ConnectionClosedError } from '../errors.js';
import type { OutgoingEntry } from '../protocol/entry.js';
import { onlyValueId, parseFrame } from '../protocol/frames.js';
import { IdSequence, randomId } from '../protocol/ids.js';
import type { Log } from '../redis/log.js';
import type { Namespace } from '../redis/namespace.js';
import { messageOf } from '../redis/redis-errors.js';
import { shardOf } from '../redis/sharding.js';
import { BurstLog } from '../util/burst-log.js';
import { IdMap } from '../util/id-map.js';
import { Shared, type Usage } from '../util/shared.js';
import { settledWithin } from '../util/time.js';
import type { OutgoingRequest, RequestParts, SendSettings } from './outgoing-request.js';
import { Publisher } from './publisher.js';
import { ReplyStream } from './reply-stream.js';

/**
 * What all clients of a module share: an id, what writes into each shard, the requests that wait, and the stream with
 * their replies.
 */
export class ClientSession extends Shared {
  private readonly id = randomId();
  private readonly ids = new IdSequence(this.id);
  private readonly pending = new IdMap<OutgoingRequest>();
  private readonly publishers: readonly Publisher[];
  private readonly replies: ReplyStream;
  private readonly warnings: BurstLog;
  private usage: Usage | undefined;
  private requests = 0;
  /** Where requests go at present. */
  private current = 0;

  constructor(
    readonly namespace: Namespace,
    private readonly connectTimeout: number,
    log: Log,
  ) {
    super();
    this.warnings = new BurstLog((line) => log.warn(line));
    this.replies = new ReplyStream(namespace, this.id, log, (field, payload) => this.onFrame(field, payload));
    const { warnings } = this;
    this.publishers = namespace.shards.map(
      (shard) =>
        new Publisher({
          shard,
          warnings,
          ensureReplies: () => this.replies.ensure(),
          ended: ({ id }) => this.pending.delete(id),
          waitingInAll: () => this.queuedMessages,
        }),
    );
  }

  /** How many requests wait for a reply. */
  get pendingRequests(): number {
    return this.pending.size;
  }

  /** How many messages wait to be written. */
  get queuedMessages(): number {
    return this.publishers.reduce((sum, { queued }) => sum + queued, 0);
  }

  /**
   * Sends a request. The callback gets what comes back, the last of it with `isDisposed`, or one error.
   * @returns the request; `abandon()` ends it without a callback, and cancels it, at any time, also when it has ended
   */
  request(parts: RequestParts): OutgoingRequest {
    const { entry, settings } = parts;
    const id = entry.id ?? this.newRequestId();
    entry.id = id;
    entry.reply = this.id;
    this.replies.keepAtLeast(settings.timeout);
    const request = this.publisherForRequests().request(id, this.requests++, parts);
    this.pending.add(id, request);
    return request;
  }

  /** For a request whose id somebody has to see before it is sent. */
  newRequestId(): string {
    return this.ids.next();
  }

  /** Publishes an event; resolves once Redis has stored it. */
  publish(content: OutgoingEntry, settings: SendSettings): Promise<void> {
    const publisher = this.publishers[shardOf(content.pattern, this.publishers.length)]!;
    return publisher.publish(content, settings);
  }

  /** Ends all requests of an owner with an error. */
  failAll(owner: object, error: Error): void {
    for (const request of this.inOrder()) {
      if (request.owner === owner) {
        request.fail(error);
      }
    }
  }

  /** Resolves when all requests that were left have been cancelled, or cannot be. */
  async whenCancelled(): Promise<void> {
    for (const publisher of this.publishers) {
      await publisher.whenCancelled();
    }
  }

  protected async start(): Promise<void> {
    const usage = this.namespace.use();
    this.usage = usage;
    // Everybody may leave while this waits, and others come, who start anew.
    const assertCurrent = (): void => {
      if (this.usage !== usage) {
        throw new ConnectionClosedError('The connection was closed while it was being opened.');
      }
    };
    try {
      await usage.ready;
      assertCurrent();
      await Promise.all(
        this.publishers.map((publisher) => publisher.shard.settingUp(() => publisher.prepare())),
      );
      assertCurrent();
      if (!(await settledWithin(this.replies.start(), this.connectTimeout))) {
        throw new ConnectError(`The connection for replies did not open within ${this.connectTimeout} ms.`);
      }
      assertCurrent();
    } catch (error) {
      if (this.usage === usage) {
        this.replies.stop();
      }
      usage.release();
      throw error;
    }
    this.publishers.forEach((publisher) => publisher.start());
  }

  protected stop(): void {
    const closed = new ConnectionClosedError('Connection closed');
    for (const request of this.inOrder()) {
      request.fail(closed);
    }
    this.publishers.forEach((publisher) => publisher.stop(closed));
    this.replies.stop();
    this.warnings.close();
    this.usage?.release();
    this.usage = undefined;
  }

  /**
   * Requests go to each shard by turns, those of a turn of the event loop together, and none to a shard whose node is
   * away while others are there.
   */
  private publisherForRequests(): Publisher {
    const { publishers } = this;
    const count = publishers.length;
    if (count === 1) {
      return publishers[0]!;
    }
    const before = publishers[this.current]!;
    if (before.queued > 0 && before.shard.commands.isReady) {
      return before;
    }
    for (let i = 1; i <= count; i++) {
      const place = (this.current + i) % count;
      if (publishers[place]!.shard.commands.isReady) {
        this.current = place;
        break;
      }
    }
    return publishers[this.current]!;
  }

  /** What is pending, in the order in which it was sent. */
  private inOrder(): OutgoingRequest[] {
    return this.pending.values().sort((one, other) => one.number - other.number);
  }

  private onFrame(field: string, payload: Buffer): void {
    try {
      // A request that is not there: nobody waits any more, since its caller has left, or the reply was read before.
      const id = onlyValueId(field);
      const request = id === undefined ? undefined : this.pending.get(id);
      if (request) {
        request.receiveOnly(payload);
        return;
      }
      const frame = parseFrame(field);
      this.pending.get(frame.id)?.receive(frame, payload);
    } catch (error) {
      this.warnings.report('reply frame', `A frame in the reply stream was passed over: ${messageOf(error)}`);
    }
  }
}
