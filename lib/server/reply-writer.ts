import { BLOCK_GRACE_MS, BLOCK_MS } from '../redis/blocking-reader.js';
import type { Log } from '../redis/log.js';
import type { Shard } from '../redis/shard.js';
import { commandFailure, messageOf } from '../redis/redis-errors.js';
import { BurstLog } from '../util/burst-log.js';
import { Backoff } from '../util/time.js';
import { WaitGroup } from '../util/wait-group.js';
import type { RightToSettle } from './lease.js';

/** Replies of one turn to one client share an entry of up to this size; a larger one goes alone. */
export const MAX_ENTRY_BYTES = 1024 * 1024;

/**
 * A client makes its stream again within one BLOCK after it has lost it, so that a reply that finds no stream is worth
 * one more attempt after this time.
 */
const GONE_AFTER_MS = BLOCK_MS + BLOCK_GRACE_MS;

/** How long it is tried to store a reply whose request names no deadline. */
const WITHOUT_DEADLINE_MS = 60_000;

/** How a reply ended. */
export type ReplyOutcome =
  /** Redis has confirmed it. */
  | 'stored'
  /** The client is not there any more: nobody waits. */
  | 'gone'
  /** It could not be stored before its deadline: nobody waits any more. */
  | 'expired';

/** Who is told what becomes of a reply. */
export interface ReplyOwner {
  /** Whether the right to reply was taken away: nothing is written any more. */
  readonly isRevoked: boolean;
  /** Redis has stored it, or has found no stream for it. Comes before `replySettled`, and perhaps twice. */
  replyAnswered(reply: Reply): void;
  /** Called once. */
  replySettled(reply: Reply, outcome: ReplyOutcome): void;
}

/** Frames for one client that belong together. */
export interface Reply {
  client: string;
  /** Fields and values, alternating. */
  frames: (string | Buffer)[];
  bytes: number;
  /** By Redis' clock: nobody waits any more from then on. */
  deadline: number | undefined;
  /** When it was first tried to store it, by Redis' clock. */
  triedSince: number | undefined;
  readonly owner: ReplyOwner;
  /** Whether it holds the request's last frame. */
  isLast: boolean;
  /** Set when it has been written: nothing may be added to it any more. */
  isWritten: boolean;
  /** Set after an attempt that found no stream. */
  foundNoStream: boolean;
}

/**
 * Writes replies to the clients' streams: all of a turn for one client in one entry. NOMKSTREAM, so that a client that
 * is gone is not brought back. What Redis refuses, or does not answer, is written again until the deadline; a client
 * passes over frames that it has seen.
 */
export class ReplyWriter {
  private waiting = new Map<string, Reply[]>();
  private readonly laterTimers = new Set<NodeJS.Timeout>();
  private readonly backoff = new Backoff();
  private readonly warnings: BurstLog;
  private readonly open = new WaitGroup();
  private scheduled = false;
  private isClosed = false;

  constructor(
    private readonly shard: Shard,
    private readonly right: RightToSettle,
    log: Log,
  ) {
    this.warnings = new BurstLog((line) => log.warn(line));
  }

  write(reply: Reply): void {
    if (this.isClosed) {
      return;
    }
    this.open.add();
    this.enqueue(reply);
  }

  /** How many entries a client has not read yet; 0 where that cannot be known now. */
  async backlog(client: string): Promise<number> {
    try {
      const key = this.shard.keys.replies(client);
      return await this.shard.connectionFor(key).client.xlen(key);
    } catch (error) {
      if (commandFailure(error) === 'refused') {
        this.warnings.report(
          'Reply backlog',
          `The length of a reply stream is not known, so that maxReplyBacklog cannot be kept: ${messageOf(error)}`,
        );
      }
      return 0;
    }
  }

  /** Goes on with what waited for the connection. */
  resume(): void {
    this.backoff.reset();
    this.schedule();
  }

  /** Resolves when every reply has been settled. */
  async drain(): Promise<void> {
    await this.open.wait();
  }

  /** Gives up what has not been stored. Nobody is told: those requests stay pending. */
  close(): void {
    this.isClosed = true;
    this.waiting.clear();
    for (const timer of this.laterTimers) {
      clearTimeout(timer);
    }
    this.laterTimers.clear();
    this.warnings.close();
  }

  private enqueue(reply: Reply): void {
    if (this.isClosed) {
      return;
    }
    const replies = this.waiting.get(reply.client);
    if (replies) {
      replies.push(reply);
    } else {
      this.waiting.set(reply.client, [reply]);
    }
    this.schedule();
  }

  private schedule(): void {
    if (!this.scheduled && this.waiting.size > 0) {
      this.scheduled = true;
      this.shard.commands.atEndOfTurn(this.flush);
    }
  }

  private readonly flush = (): void => {
    this.scheduled = false;
    if (!this.shard.commands.isReady) {
      return;
    }
    if (!this.right.isHeld) {
      this.right.restore();
      return;
    }
    const { waiting } = this;
    this.waiting = new Map();
    const now = this.shard.clock.now();
    for (const [client, replies] of waiting) {
      let batch: Reply[] = [];
      let bytes = 0;
      for (const reply of replies) {
        if (reply.owner.isRevoked) {
          this.open.done();
          continue;
        }
        if (reply.deadline !== undefined && now >= reply.deadline) {
          this.settle(reply, 'expired');
          continue;
        }
        if (batch.length > 0 && bytes + reply.bytes > MAX_ENTRY_BYTES) {
          this.send(client, batch, now);
          batch = [];
          bytes = 0;
        }
        batch.push(reply);
        bytes += reply.bytes;
      }
      if (batch.length > 0) {
        this.send(client, batch, now);
      }
    }
  };

  private send(client: string, replies: Reply[], now: number): void {
    const args: (string | Buffer)[] = [];
    for (const reply of replies) {
      reply.isWritten = true;
      reply.triedSince ??= now;
      for (const frame of reply.frames) {
        args.push(frame);
      }
    }
    this.add(this.shard.keys.replies(client), args).then(
      (id) => (id === null ? this.onNoStream(replies) : this.onStored(replies)),
      (error: unknown) => this.onFailure(replies, error),
    );
  }

  private add(key: string, args: (string | Buffer)[]): Promise<string | null> {
    const { commands } = this.shard;
    const connection = this.shard.connectionFor(key);
    // In a cluster the client's stream may lie on another node, whose writes have an end of turn of their own.
    return connection === commands
      ? commands.client.xadd(key, 'NOMKSTREAM', '*', ...args)
      : connection.inTurn((client) => client.xadd(key, 'NOMKSTREAM', '*', ...args));
  }

  private onStored(replies: Reply[]): void {
    this.backoff.reset();
    for (const reply of replies) {
      this.settle(reply, 'stored');
    }
  }

  private onNoStream(replies: Reply[]): void {
    const again: Reply[] = [];
    for (const reply of replies) {
      if (reply.foundNoStream) {
        this.settle(reply, 'gone');
      } else {
        reply.foundNoStream = true;
        reply.owner.replyAnswered(reply);
        again.push(reply);
      }
    }
    if (again.length > 0) {
      this.later(again, GONE_AFTER_MS);
    }
  }

  private onFailure(replies: Reply[], error: unknown): void {
    const failure = commandFailure(error);
    if (failure === 'refused') {
      this.warnings.report(
        'Replies',
        `Redis refused to store replies: ${messageOf(error)}; trying again until their deadlines`,
      );
    }
    const now = this.shard.clock.now();
    const again = replies.filter((reply) => {
      const isExpired = now >= (reply.deadline ?? (reply.triedSince ?? now) + WITHOUT_DEADLINE_MS);
      if (isExpired) {
        this.settle(reply, 'expired');
      }
      return !isExpired;
    });
    if (again.length > 0) {
      this.later(again, this.backoff.next());
    }
  }

  private later(replies: Reply[], ms: number): void {
    if (this.isClosed) {
      return;
    }
    const timer = setTimeout(() => {
      this.laterTimers.delete(timer);
      for (const reply of replies) {
        this.enqueue(reply);
      }
    }, ms);
    this.laterTimers.add(timer);
  }

  private settle(reply: Reply, outcome: ReplyOutcome): void {
    if (this.isClosed) {
      return;
    }
    this.open.done();
    reply.owner.replyAnswered(reply);
    reply.owner.replySettled(reply, outcome);
  }
}
