import { Logger } from '@nestjs/common';
import { CommandFailedError, ConnectError, RedisStreamsError } from '../errors.js';
import { resolveDeadLettersOptions, type RedisStreamsDeadLettersOptions } from '../options.js';
import type { DeadLetterId } from '../protocol/dead-letter-id.js';
import { META_PREFIX, NOT_REPLAYED } from '../protocol/dead-letter.js';
import { Namespace } from '../redis/namespace.js';
import { messageOf } from '../redis/redis-errors.js';
import { parseEntries } from '../redis/replies.js';
import { replay } from '../redis/scripts/replay.js';
import type { Shard } from '../redis/shard.js';
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
  checkLetterId,
  checkLetterIds,
  checkLimit,
  checkPattern,
  checkService,
  checkTime,
} from './arguments.js';
import { LetterSources, isBefore, readLetters, toLetter } from './letter-source.js';

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
    const from = checkTime(query.from, 'from');
    const to = checkTime(query.to, 'to');
    const after = query.after === undefined ? undefined : this.parseId(query.after, "'after'");
    return this.run(`The dead letters of '${service}' could not be listed`, async () => {
      const sources = new LetterSources(this.shards, { service, from, to, after });
      const letters: StoredDeadLetter[] = [];
      let next: string | undefined;
      for (let scanned = 0; scanned < SCAN_LIMIT && letters.length < limit; scanned++) {
        const wanted = pattern === undefined ? limit - letters.length : BATCH;
        const letter = await sources.next(Math.min(wanted, BATCH, SCAN_LIMIT - scanned));
        if (!letter) {
          return { letters, next: undefined };
        }
        next = letter.id;
        if (pattern === undefined || letter.pattern === pattern) {
          letters.push(letter);
        }
      }
      return { letters, next };
    });
  }

  /** The dead letter of this id; `undefined` where there is none. */
  async get(id: string, scope: DeadLetterScope = {}): Promise<StoredDeadLetter | undefined> {
    const service = checkService(scope.service, this.service);
    const { entry: entryId, shard: index } = this.parseId(id, 'id');
    const shard = this.shards[index]!;
    return this.run(`The dead letter ${id} of '${service}' could not be read`, async () => {
      const [entry] = await readLetters(shard, service, entryId, entryId, 1);
      return entry && toLetter(shard, service, entry);
    });
  }

  /** How many dead letters there are. */
  async count(scope: DeadLetterScope = {}): Promise<number> {
    const service = checkService(scope.service, this.service);
    return this.run(`The dead letters of '${service}' could not be counted`, async () => {
      const lengths = await Promise.all(
        this.shards.map(({ commands, keys }) => commands.client.xlen(keys.dead(service))),
      );
      return lengths.reduce((sum, length) => sum + length, 0);
    });
  }

  /**
   * Has messages handled again, as if they had just been sent: to this service alone, whoever else subscribes to an
   * event, and with their deliveries counted from 1. What was a request runs its message handler, and its answer is dropped.
   * Each letter is replayed once or not at all, whoever else replays it at the same time.
   */
  async replay(ids: string | readonly string[], scope: DeadLetterScope = {}): Promise<DeadLetterReplay> {
    const service = checkService(scope.service, this.service);
    const checked = this.parseIds(ids);
    return this.run(`Dead letters of '${service}' could not be replayed`, () =>
      this.replayEach(service, checked),
    );
  }

  /**
   * Replays all dead letters that match and were there when it was called: those that die again meanwhile are not
   * replayed a second time.
   * @returns how many were replayed
   */
  async replayAll(filter: DeadLetterFilter = {}): Promise<number> {
    const service = checkService(filter.service, this.service);
    const lasts = await this.run(`The dead letters of '${service}' could not be listed`, () =>
      this.lastOfEach(service),
    );
    let replayed = 0;
    let after: DeadLetterId | undefined;
    let next: string | undefined;
    while (lasts.some((last) => !after || isBefore(after, last))) {
      const page = await this.list({ ...filter, after: next, limit: BATCH });
      const ids = page.letters.map(({ id }) => id).filter((id) => isUpTo(this.parseId(id, 'id'), lasts));
      replayed += (await this.replay(ids, { service })).replayed.length;
      next = page.next;
      if (next === undefined) {
        break;
      }
      after = this.parseId(next, 'after');
    }
    return replayed;
  }

  /** Removes dead letters for good. */
  async remove(ids: string | readonly string[], scope: DeadLetterScope = {}): Promise<DeadLetterRemoval> {
    const service = checkService(scope.service, this.service);
    const checked = this.parseIds(ids);
    return this.run(`Dead letters of '${service}' could not be removed`, async () => {
      const result: DeadLetterRemoval = { removed: [], missing: [] };
      await inBatches([...checked], async ([id, { entry, shard }]) => {
        const { commands, keys } = this.shards[shard]!;
        // One XDEL each: for several it would not say which were there.
        result[(await commands.client.xdel(keys.dead(service), entry)) === 1 ? 'removed' : 'missing'].push(
          id,
        );
      });
      return result;
    });
  }

  private get shards(): readonly Shard[] {
    return this.namespace.shards;
  }

  private parseId(id: unknown, what: string): DeadLetterId {
    return checkLetterId(id, what, this.shards.length);
  }

  /** By the ids as they were given, each once. */
  private parseIds(ids: unknown): Map<string, DeadLetterId> {
    return checkLetterIds(ids, this.shards.length);
  }

  private async replayEach(
    service: string,
    ids: ReadonlyMap<string, DeadLetterId>,
  ): Promise<DeadLetterReplay> {
    const result: DeadLetterReplay = { replayed: [], missing: [], empty: [] };
    await inBatches([...ids], async ([id, { entry, shard }]) => {
      const { commands, keys } = this.shards[shard]!;
      const done = await replay(commands.client, {
        dead: keys.dead(service),
        inbox: keys.inbox(service),
        id: entry,
        metaPrefix: META_PREFIX,
        without: NOT_REPLAYED,
      });
      if (done.outcome === 'replayed') {
        result.replayed.push({ id, entryId: done.entryId });
      } else {
        result[done.outcome].push(id);
      }
    });
    return result;
  }

  /** The newest letter of each shard that has any. */
  private async lastOfEach(service: string): Promise<DeadLetterId[]> {
    const lasts = await Promise.all(
      this.shards.map(async ({ commands, keys, index }) => {
        const reply = await commands.client.xrevrangeBuffer(keys.dead(service), '+', '-', 'COUNT', 1);
        return parseEntries(reply).map(({ id }) => ({ entry: id, shard: index }));
      }),
    );
    return lasts.flat();
  }

  /** Runs commands on connections that are usable; what they fail with says what was being done. */
  private async run<T>(failure: string, work: () => Promise<T>): Promise<T> {
    await this.connect();
    for (const { commands, mismatch } of this.shards) {
      if (mismatch) {
        throw mismatch;
      }
      // Opened long ago, it may just be away.
      if (!(await commands.whenReady(this.connectTimeout))) {
        throw new ConnectError(
          `Redis at ${commands.address} was not reachable for ${this.connectTimeout} ms.`,
        );
      }
    }
    try {
      return await work();
    } catch (error) {
      throw error instanceof RedisStreamsError
        ? error
        : new CommandFailedError(failure, messageOf(error), { cause: error });
    }
  }
}

/** Whether a letter was there when the last of each shard were these. */
function isUpTo(id: DeadLetterId, lasts: readonly DeadLetterId[]): boolean {
  return lasts.some((last) => last.shard === id.shard && !isBefore(last, id));
}

/** Some at once and then the next, so that a long list neither takes a round trip each nor floods the connection. */
async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += BATCH) {
    await Promise.all(items.slice(at, at + BATCH).map(work));
  }
}
