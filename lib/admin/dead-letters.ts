import { Logger } from '@nestjs/common';
import type { Redis } from 'ioredis';
import { CommandFailedError, ConnectError, RedisStreamsError } from '../errors.js';
import { resolveDeadLettersOptions, type RedisStreamsDeadLettersOptions } from '../options.js';
import { META_PREFIX, NOT_REPLAYED, parseDeadLetter } from '../protocol/dead-letter.js';
import { Namespace } from '../redis/namespace.js';
import { messageOf } from '../redis/redis-errors.js';
import { entryTime, isEarlier, parseEntries, type StreamEntry } from '../redis/replies.js';
import { replay } from '../redis/scripts/replay.js';
import type { Usage } from '../util/shared.js';
import type {
  DeadLetterFilter,
  DeadLetterPage,
  DeadLetterQuery,
  DeadLetterRemoval,
  DeadLetterReplay,
  DeadLetterScope,
  StoredDeadLetter,
} from './dead-letters.interface.js';
import {
  checkEntryId,
  checkEntryIds,
  checkLimit,
  checkPattern,
  checkService,
  checkTime,
} from './arguments.js';

/** How many letters a page has unless it is said, and at most. */
const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 1_000;

/** How many letters one call of `list()` looks at, so that a rare pattern does not keep Redis and us for long. */
const SCAN_LIMIT = 1_000;

/** How many letters are asked for, replayed or removed at once. Each may be as large as a message. */
const BATCH = 100;

/**
 * Looks at the dead letters of services, replays and removes them. `RedisStreamsModule.forRoot` provides it; without
 * the module make one from options, and close it. It connects at its first call.
 *
 * Every method rejects with an `InvalidArgumentError` for what it cannot be given, a `ConnectError` where Redis is not
 * reached within `connectTimeout`, and a `CommandFailedError` where Redis refuses or does not answer.
 */
export class RedisStreamsDeadLetters {
  private readonly namespace: Namespace;
  private readonly service: string | undefined;
  private readonly connectTimeout: number;
  private usage: Usage | undefined;

  /**
   * Throws a `ConfigurationError` for options that cannot be used. Opens no connection.
   * @param namespace the connection of a module, which shares its own
   */
  constructor(options: RedisStreamsDeadLettersOptions = {}, namespace?: Namespace) {
    const resolved = resolveDeadLettersOptions(options);
    this.service = resolved.service;
    this.connectTimeout = resolved.connectTimeout;
    this.namespace = namespace ?? new Namespace(resolved, new Logger(RedisStreamsDeadLetters.name));
  }

  /** Connects, which the first call does otherwise. Calls while it connects share one attempt; a failed one is forgotten. */
  async connect(): Promise<void> {
    const usage = (this.usage ??= this.namespace.use());
    try {
      await usage.ready;
    } catch (error) {
      if (this.usage === usage) {
        this.usage = undefined;
      }
      throw error;
    }
  }

  /** Closes the connection, unless others of a module use it. Calls under way fail. The next call connects again. */
  close(): Promise<void> {
    this.usage?.release();
    this.usage = undefined;
    return Promise.resolve();
  }

  /** One page of dead letters, the oldest first. Go on with `after: page.next` while there is one. */
  async list(query: DeadLetterQuery = {}): Promise<DeadLetterPage> {
    const service = checkService(query.service, this.service);
    const pattern = checkPattern(query.pattern);
    const limit = checkLimit(query.limit, MAX_LIMIT, DEFAULT_LIMIT);
    let start = startOf(query);
    const end = checkTime(query.to, 'to')?.toString() ?? '+';
    return this.run(`The dead letters of '${service}' could not be listed`, async (redis) => {
      const letters: StoredDeadLetter[] = [];
      let next: string | undefined;
      for (let scanned = 0; scanned < SCAN_LIMIT;) {
        const wanted = pattern === undefined ? limit - letters.length : BATCH;
        const count = Math.min(wanted, BATCH, SCAN_LIMIT - scanned);
        const entries = await this.read(redis, service, start, end, count);
        for (const entry of entries) {
          const letter = toLetter(service, entry);
          next = letter.id;
          if (pattern === undefined || letter.pattern === pattern) {
            letters.push(letter);
          }
          if (letters.length === limit) {
            return { letters, next };
          }
        }
        if (entries.length < count) {
          return { letters, next: undefined };
        }
        scanned += entries.length;
        start = `(${next}`;
      }
      return { letters, next };
    });
  }

  /** The dead letter of this id; `undefined` where there is none. */
  async get(id: string, scope: DeadLetterScope = {}): Promise<StoredDeadLetter | undefined> {
    const service = checkService(scope.service, this.service);
    checkEntryId(id, 'id');
    return this.run(`The dead letter ${id} of '${service}' could not be read`, async (redis) => {
      const [entry] = await this.read(redis, service, id, id, 1);
      return entry && toLetter(service, entry);
    });
  }

  /** How many dead letters there are. */
  async count(scope: DeadLetterScope = {}): Promise<number> {
    const service = checkService(scope.service, this.service);
    return this.run(`The dead letters of '${service}' could not be counted`, (redis) =>
      redis.xlen(this.namespace.root.keys.dead(service)),
    );
  }

  /**
   * Has messages handled again, as if they had just been sent: to this service alone, whoever else subscribes to an
   * event, and with their deliveries counted from 1. What was a request runs its message handler, and its answer is dropped.
   * Each letter is replayed once or not at all, whoever else replays it at the same time.
   */
  async replay(ids: string | readonly string[], scope: DeadLetterScope = {}): Promise<DeadLetterReplay> {
    const service = checkService(scope.service, this.service);
    const checked = checkEntryIds(ids);
    return this.run(`Dead letters of '${service}' could not be replayed`, (redis) =>
      this.replayEach(redis, service, checked),
    );
  }

  /**
   * Replays all dead letters that match and were there when it was called: those that die again meanwhile are not
   * replayed a second time.
   * @returns how many were replayed
   */
  async replayAll(filter: DeadLetterFilter = {}): Promise<number> {
    const service = checkService(filter.service, this.service);
    const last = await this.run(`The dead letters of '${service}' could not be listed`, async (redis) => {
      const [entry] = parseEntries(
        await redis.xrevrangeBuffer(this.namespace.root.keys.dead(service), '+', '-', 'COUNT', 1),
      );
      return entry?.id;
    });
    let replayed = 0;
    let after: string | undefined;
    while (last !== undefined) {
      const page = await this.list({ ...filter, after, limit: BATCH });
      const ids = page.letters.map(({ id }) => id).filter((id) => !isEarlier(last, id));
      replayed += (await this.replay(ids, { service })).replayed.length;
      after = page.next;
      if (after === undefined || !isEarlier(after, last)) {
        break;
      }
    }
    return replayed;
  }

  /** Removes dead letters for good. */
  async remove(ids: string | readonly string[], scope: DeadLetterScope = {}): Promise<DeadLetterRemoval> {
    const service = checkService(scope.service, this.service);
    const checked = checkEntryIds(ids);
    return this.run(`Dead letters of '${service}' could not be removed`, async (redis) => {
      const key = this.namespace.root.keys.dead(service);
      const result: DeadLetterRemoval = { removed: [], missing: [] };
      await inBatches(checked, async (id) => {
        // One XDEL each: for several it would not say which were there.
        result[(await redis.xdel(key, id)) === 1 ? 'removed' : 'missing'].push(id);
      });
      return result;
    });
  }

  private async replayEach(redis: Redis, service: string, ids: readonly string[]): Promise<DeadLetterReplay> {
    const { keys } = this.namespace.root;
    const to = { dead: keys.dead(service), inbox: keys.inbox(service) };
    const result: DeadLetterReplay = { replayed: [], missing: [], empty: [] };
    await inBatches(ids, async (id) => {
      const done = await replay(redis, { ...to, id, metaPrefix: META_PREFIX, without: NOT_REPLAYED });
      if (done.outcome === 'replayed') {
        result.replayed.push({ id, entryId: done.entryId });
      } else {
        result[done.outcome].push(id);
      }
    });
    return result;
  }

  private async read(
    redis: Redis,
    service: string,
    start: string,
    end: string,
    count: number,
  ): Promise<StreamEntry[]> {
    return parseEntries(
      await redis.xrangeBuffer(this.namespace.root.keys.dead(service), start, end, 'COUNT', count),
    );
  }

  /** Runs commands on a connection that is usable; what they fail with says what was being done. */
  private async run<T>(failure: string, work: (redis: Redis) => Promise<T>): Promise<T> {
    await this.connect();
    const { commands, mismatch } = this.namespace.root;
    if (mismatch) {
      throw mismatch;
    }
    // Opened long ago, it may just be away.
    if (!(await commands.whenReady(this.connectTimeout))) {
      throw new ConnectError(`Redis at ${commands.address} was not reachable for ${this.connectTimeout} ms.`);
    }
    try {
      return await work(commands.client);
    } catch (error) {
      throw error instanceof RedisStreamsError
        ? error
        : new CommandFailedError(failure, messageOf(error), { cause: error });
    }
  }
}

/** Where a page begins, as XRANGE takes it: after the page before, but not before `from`. */
function startOf(query: DeadLetterQuery): string {
  const from = checkTime(query.from, 'from');
  if (query.after !== undefined) {
    const after = checkEntryId(query.after, "'after'");
    if (from === undefined || entryTime(after) >= from) {
      return `(${after}`;
    }
  }
  return from?.toString() ?? '-';
}

function toLetter(service: string, { id, fields = [] }: StreamEntry): StoredDeadLetter {
  const record = parseDeadLetter(id, fields);
  const published = entryTime(record.entryId);
  return {
    ...record,
    service,
    diedAt: new Date(entryTime(id)),
    publishedAt: Number.isNaN(published) ? undefined : new Date(published),
  };
}

/** Some at once and then the next, so that a long list neither takes a round trip each nor floods the connection. */
async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += BATCH) {
    await Promise.all(items.slice(at, at + BATCH).map(work));
  }
}
