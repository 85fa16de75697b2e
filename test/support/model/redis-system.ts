import type { Redis } from 'ioredis';
import { Keys } from '../../../lib/redis/keys.js';
import { deadLetter } from '../../../lib/redis/scripts/dead-letter.js';
import { moveEntries } from '../../../lib/redis/scripts/move.js';
import { orphan } from '../../../lib/redis/scripts/orphan.js';
import { renewLease } from '../../../lib/redis/scripts/renew-lease.js';
import { forgetInstance, retireConsumers } from '../../../lib/redis/scripts/retire.js';
import { sweep } from '../../../lib/redis/scripts/sweep.js';
import { trimTopic } from '../../../lib/redis/scripts/trim-topic.js';
import { ALONE_FROM } from './group-model.js';
import {
  consumerThatTakes,
  WAITING,
  type Held,
  type OrphanKind,
  type StreamSnapshot,
  type StreamSystem,
} from './stream-system.js';

const GROUP = 'orders';
const LEASE_MS = 3_600_000;

/** The transport's scripts on a topic of a real Redis, without the server around them. */
export class RedisSystem implements StreamSystem {
  private readonly keys: Keys;
  private readonly stream: string;
  private readonly dead: string;
  private readonly instances: string;

  private constructor(
    private readonly redis: Redis,
    namespace: string,
  ) {
    this.keys = new Keys(namespace);
    this.stream = this.keys.topic('placed');
    this.dead = this.keys.dead(GROUP);
    this.instances = this.keys.instances(GROUP);
  }

  /** @param namespace one for each system: they would disturb each other */
  static async create(redis: Redis, namespace: string): Promise<RedisSystem> {
    const system = new RedisSystem(redis, namespace);
    await redis.xgroup('CREATE', system.stream, GROUP, '0', 'MKSTREAM');
    await redis.hset(system.keys.subscriptions, `${GROUP} placed`, '0', 'version', '1');
    return system;
  }

  async join(instance: string): Promise<void> {
    const keys = { lease: this.keys.lease(GROUP, instance), instances: this.instances };
    await renewLease(this.redis, keys, '1', LEASE_MS, instance);
  }

  async publish(): Promise<string> {
    return (await this.redis.xadd(this.stream, '*', 'pattern', 'placed', 'data', '1'))!;
  }

  async read(instance: string, count: number): Promise<string[]> {
    const reply = (await this.redis.xreadgroup(
      'GROUP',
      GROUP,
      instance,
      'COUNT',
      count,
      'STREAMS',
      this.stream,
      '>',
    )) as [string, [string, string[]][]][] | null;
    return reply?.[0]?.[1].map(([id]) => id) ?? [];
  }

  async acknowledge({ id }: Held): Promise<void> {
    await this.redis.xack(this.stream, GROUP, id);
  }

  retry(held: Held): Promise<boolean> {
    return this.moveOne(held, held.instance + WAITING, 0);
  }

  startDue(held: Held): Promise<boolean> {
    return this.moveOne(held, held.instance, 1);
  }

  async deadLetter({ id, consumer }: Held): Promise<boolean> {
    const { outcome } = await deadLetter(this.redis, {
      stream: this.stream,
      dead: this.dead,
      group: GROUP,
      owner: consumer,
      id,
      remove: false,
      maxLength: 1_000,
      meta: ['dead-id', id],
    });
    return outcome === 'moved';
  }

  async crash(instance: string): Promise<void> {
    await this.redis.del(this.keys.lease(GROUP, instance));
  }

  async sweep(): Promise<void> {
    const { stream, instances, redis, keys } = this;
    for (const instance of await this.findDead()) {
      const lease = keys.lease(GROUP, instance);
      await orphan(redis, { stream, lease, instances }, GROUP, instance, ALONE_FROM, 'died');
    }
  }

  async retire(): Promise<void> {
    const { stream, instances, redis, keys } = this;
    for (const instance of await this.findDead()) {
      const lease = keys.lease(GROUP, instance);
      // The time for which a dead instance is looked after has passed, and with it what remembers its death.
      await redis.del(lease);
      if (await retireConsumers(redis, { stream, lease }, GROUP, instance)) {
        await forgetInstance(redis, { instances, lease }, instance);
      }
    }
  }

  async take(instance: string, kind: OrphanKind, count: number): Promise<string[]> {
    const moved = await moveEntries(this.redis, {
      stream: this.stream,
      group: GROUP,
      from: kind,
      to: consumerThatTakes(kind, instance),
      which: count,
      idle: 'keep',
    });
    return moved.map(({ id }) => id);
  }

  async leave(instance: string): Promise<void> {
    const { stream, instances, redis } = this;
    const lease = this.keys.lease(GROUP, instance);
    await orphan(redis, { stream, lease, instances }, GROUP, instance, ALONE_FROM, 'left');
    await redis.del(lease);
    await retireConsumers(redis, { stream, lease }, GROUP, instance);
    await forgetInstance(redis, { instances, lease }, instance);
  }

  async trim(): Promise<void> {
    await trimTopic(this.redis, this.keys, this.stream, '1', [GROUP]);
  }

  async snapshot(): Promise<StreamSnapshot> {
    const { redis } = this;
    const [entries, pending, dead, groups] = await Promise.all([
      redis.xrange(this.stream, '-', '+'),
      redis.xpending(this.stream, GROUP, '-', '+', 1_000) as Promise<[string, string, number, number][]>,
      redis.xrange(this.dead, '-', '+'),
      redis.xinfo('GROUPS', this.stream) as Promise<unknown[][]>,
    ]);
    const group = groups[0]!;
    return {
      stream: entries.map(([id]) => id),
      lastDelivered: String(group[group.indexOf('last-delivered-id') + 1]),
      pending: pending.map(([id, consumer, , deliveries]) => ({ id, consumer, deliveries })),
      dead: dead.map(([, fields]) => fields[fields.indexOf('dead-id') + 1]!),
    };
  }

  private async findDead(): Promise<string[]> {
    const { redis, instances, keys } = this;
    // It is somebody's turn every third of a lease.
    await redis.del(keys.sweep(GROUP));
    const { dead } = await sweep(
      redis,
      { sweep: keys.sweep(GROUP), instances, cancelled: keys.cancelled, leases: keys.leases(GROUP) },
      'sweeper',
      LEASE_MS,
    );
    return dead.map(({ id }) => id);
  }

  private async moveOne({ id, consumer }: Held, to: string, raise: number): Promise<boolean> {
    const moved = await moveEntries(this.redis, {
      stream: this.stream,
      group: GROUP,
      from: consumer,
      to,
      which: [id],
      raise,
    });
    return moved.length > 0;
  }
}
