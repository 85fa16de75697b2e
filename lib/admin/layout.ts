import { Logger } from '@nestjs/common';
import {
  CommandFailedError,
  InvalidArgumentError,
  LayoutChangeRefusedError,
  RedisStreamsError,
} from '../errors.js';
import {
  SERVER_RULES,
  resolveLayoutOptions,
  type RedisStreamsLayoutOptions,
  type ResolvedLayoutOptions,
} from '../options.js';
import { makeConnections, type Connections } from '../redis/connections.js';
import { Keys } from '../redis/keys.js';
import {
  checkLayout,
  lockLayout,
  readLayout,
  unlockLayout,
  type LayoutChange,
  type StoredLayout,
} from '../redis/layout.js';
import { messageOf } from '../redis/redis-errors.js';
import { pause } from '../util/time.js';
import { ChangeLock } from './change-lock.js';
import { moveOut } from './layout-move.js';
import { findClients, findKeys, survey, type ShardPlace } from './layout-survey.js';
import type { LayoutState, LayoutTarget } from './layout.interface.js';

/** Whoever was just starting when the layout was locked can be seen by then. */
const SEEN_AFTER_MS = 1_000;

/** A namespace while its layout is looked at. */
interface Session {
  connections: Connections;
  /** The first of its shards. */
  root: ShardPlace;
  places: readonly ShardPlace[];
  stored: StoredLayout | undefined;
}

/**
 * Tells whether all messages of a namespace have been handled, and changes the number of its shards when they have.
 * `RedisStreamsModule.forRoot` provides it; without the module make one from options. It finds out the number of shards
 * by itself, opens its connections for each call and closes them after it.
 *
 * Its methods reject with a `ConnectError` where Redis is not reached within `connectTimeout`, and a
 * `CommandFailedError` where Redis refuses or does not answer.
 */
export class RedisStreamsLayout {
  private readonly options: ResolvedLayoutOptions;
  private readonly logger = new Logger(RedisStreamsLayout.name);

  /** Throws a `ConfigurationError` for options that cannot be used. Opens no connection. */
  constructor(options: RedisStreamsLayoutOptions = {}) {
    this.options = resolveLayoutOptions(options);
  }

  /** What lies in the namespace, and who uses it. Looks at every key of the database: not for every second. */
  state(): Promise<LayoutState> {
    return this.run('The state of the layout could not be read', 1, (session) => this.look(session));
  }

  /**
   * Changes the number of shards. Rejects with a `LayoutChangeRefusedError`, which names all that stands in the way,
   * unless everything is drained, and neither an instance nor a client is there. Start nothing until it has resolved,
   * and everything with the new number then. One that was interrupted is finished by calling it again.
   */
  async change({ shards }: LayoutTarget): Promise<void> {
    const fault = SERVER_RULES.shards.fault(shards);
    if (fault !== undefined) {
      throw new InvalidArgumentError(`'shards' ${fault}.`);
    }
    await this.run('The layout could not be changed', shards, async (session) => {
      const { root } = session;
      const lock = await ChangeLock.take(root);
      // Read again by whoever has the lock: another may just have changed it.
      const stored = await readLayout(root.commands, root.keys);
      if (!lock || !isAsFound(stored, session.stored)) {
        await lock?.release();
        throw this.refused(stored?.shards, shards, [
          'another process is changing it, or died doing so within the last 30 s: wait, and try again',
        ]);
      }
      try {
        await this.changeFrom(stored, shards, session);
      } finally {
        await lock.release();
      }
    });
  }

  private async changeFrom(stored: StoredLayout | undefined, to: number, session: Session): Promise<void> {
    const { root, places } = session;
    if (!stored) {
      await checkLayout(root.commands, root.keys, { shards: to });
      return;
    }
    const { shards: from, changing } = stored;
    if (!changing && from === to) {
      return;
    }
    if (changing?.phase !== 'moving') {
      await this.lockUnlessUsed(from, to, session);
    } else if (changing.to !== to) {
      throw this.refused(from, to, [
        `a change to ${changing.to} was interrupted and has to be finished first: change({ shards: ${changing.to} })`,
      ]);
    }
    for (const [place, keys] of await findKeys(places.slice(0, from))) {
      await moveOut(place, keys, places, to);
    }
    await unlock(places, to);
    this.logger.log(`The namespace '${this.options.namespace}' has ${to} shards now, and had ${from}`);
  }

  /** Looks twice: before it stops everybody, and once nobody can come any more. */
  private async lockUnlessUsed(from: number, to: number, session: Session): Promise<void> {
    const { places, stored } = session;
    let isLocked = stored?.changing !== undefined;
    const assertUnused = async (): Promise<void> => {
      const obstacles = obstaclesIn(await this.look(session), to);
      if (obstacles.length > 0) {
        throw this.refused(from, to, obstacles);
      }
    };
    try {
      await assertUnused();
      isLocked = true;
      await lock(places, { from, to, phase: 'checking' });
      await pause(SEEN_AFTER_MS);
      await assertUnused();
    } catch (error) {
      if (isLocked) {
        await unlock(places, from);
      }
      throw error;
    }
    await lock(places, { from, to, phase: 'moving' });
  }

  private refused(from: number | undefined, to: number, obstacles: string[]): LayoutChangeRefusedError {
    return new LayoutChangeRefusedError(this.options.namespace, from ?? 0, to, obstacles);
  }

  private async look({ connections, root, places, stored }: Session): Promise<LayoutState> {
    const state: LayoutState = {
      shards: stored?.shards,
      changingTo: stored?.changing?.to,
      waiting: [],
      unclaimed: [],
      scheduled: [],
      deadLetters: [],
      instances: [],
      clients: await findClients(await connections.everywhere(), root.keys),
      isDrained: false,
    };
    for (const [place, keys] of await findKeys(places)) {
      const found = await survey(place, keys);
      state.waiting.push(...found.waiting);
      state.unclaimed.push(...found.unclaimed);
      state.scheduled.push(...found.scheduled);
      state.deadLetters.push(...found.deadLetters);
      state.instances.push(...found.instances);
    }
    // An instance has a lease in each shard.
    state.instances = [...new Map(state.instances.map((one) => [one.instance, one])).values()];
    state.isDrained = state.waiting.length === 0 && state.scheduled.length === 0;
    return state;
  }

  /** Opens as many shards as there are, were meant to be, or are wanted, and closes them when the work is done. */
  private async run<T>(failure: string, wanted: number, work: (session: Session) => Promise<T>): Promise<T> {
    const root = this.open(1);
    let all: Connections | undefined;
    try {
      await root.open();
      const stored = await readLayout(root.ofShards[0]!.commands, new Keys(this.options.namespace, 0));
      const connections = this.open(Math.max(wanted, stored?.shards ?? 1, stored?.changing?.to ?? 1));
      all = connections;
      await connections.open();
      const places = connections.ofShards.map((shard, index) => ({
        index,
        keys: new Keys(this.options.namespace, index),
        commands: shard.commands,
      }));
      return await work({ connections, root: places[0]!, places, stored });
    } catch (error) {
      throw error instanceof RedisStreamsError
        ? error
        : new CommandFailedError(failure, messageOf(error), { cause: error });
    } finally {
      root.close();
      all?.close();
    }
  }

  private open(shards: number): Connections {
    return makeConnections({ ...this.options, shards }, this.logger, {
      ready: () => undefined,
      lost: () => undefined,
    });
  }
}

function isAsFound(now: StoredLayout | undefined, found: StoredLayout | undefined): boolean {
  return JSON.stringify(now) === JSON.stringify(found);
}

/** The first shard first: it is the one that everybody who starts looks at. */
async function lock(places: readonly ShardPlace[], change: LayoutChange): Promise<void> {
  for (const { commands, keys } of places) {
    await lockLayout(commands, keys, change);
  }
}

/** The first shard last. Those that are not used any more keep a layout, which tells whoever still uses them to stop. */
async function unlock(places: readonly ShardPlace[], shards: number): Promise<void> {
  for (const { commands, keys } of [...places].reverse()) {
    await unlockLayout(commands, keys, shards);
  }
}

/** What stands in the way of so many shards. */
function obstaclesIn(state: LayoutState, shards: number): string[] {
  return [
    ...state.instances.map(
      ({ service, instance }) => `instance ${instance} of '${service}' is running: stop it`,
    ),
    ...state.clients.map(
      (client) => `client ${client} is connected, or died within the last minute: close it, or wait`,
    ),
    ...state.waiting.map(({ shard, service, pattern, undelivered, pending }) => {
      const what = pattern === undefined ? 'requests' : `events of '${pattern}'`;
      return `'${service}' has not handled ${undelivered + pending} ${what} in shard ${shard}: start an instance, and wait`;
    }),
    ...state.scheduled.map(({ shard, entries }) => `${entries} scheduled messages wait in shard ${shard}`),
    ...state.deadLetters
      .filter(({ shard }) => shard >= shards)
      .map(
        ({ shard, service, entries }) =>
          `${entries} dead letters of '${service}' lie in shard ${shard}, which is to go: replay or remove them`,
      ),
  ];
}
