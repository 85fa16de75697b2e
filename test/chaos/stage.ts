import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Keys } from '../../lib/redis/keys.js';
import type { CompiledScripts } from '../support/child-process.js';
import { Proxy } from '../support/proxy.js';
import { IS_CLUSTER, RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';
import { ASKED, EVENT, SERVICES, type ClientSetup, type ServerSetup, type ServiceName } from './load.js';
import { Member } from './member.js';
import { messageOf, Recorder, RECORDER } from './recorder.js';
import type { Cast } from './scenarios.js';

/** What Redis keeps in its append-only file before it answers. */
const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always'];

/** Five deliveries, each after a takeover, each alone. */
const POISONED_WITHIN_MS = 120_000;

/** A Redis, a proxy for each process, and the processes: everything that a scenario needs, and that it may break. */
export class Stage {
  readonly members: Member[] = [];
  readonly keys = new Keys('nest');
  readonly topic = this.keys.topic(EVENT);
  /** What went wrong without a fault that explains it. */
  readonly troubles: string[] = [];
  readonly books: string;
  private readonly logs: string;
  readonly admin: Redis;
  readonly recorder: Recorder;
  private readonly proxies: Proxy[] = [];
  private isKept = false;

  private constructor(
    readonly redis: RedisServer,
    private readonly folder: string,
  ) {
    this.books = join(folder, 'books');
    this.logs = join(folder, 'logs');
    mkdirSync(this.books);
    mkdirSync(this.logs);
    this.admin = new Redis(redis.url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
    // Redis is killed on purpose; what it was asked is asked again.
    this.admin.on('error', () => undefined);
    this.recorder = new Recorder(redis.url, this.keys, this.topic, EVENT);
  }

  /** Starts everything; resolves when all work. */
  static async open(cast: Cast, seed: number, scripts: CompiledScripts): Promise<Stage> {
    const redis = await RedisServer.start(...DURABLE, ...(cast.redis ?? []));
    const stage = new Stage(redis, mkdtempSync(join(tmpdir(), 'redis-streams-chaos-')));
    try {
      await stage.recorder.start();
      await stage.addServers(cast, scripts);
      await stage.addClients(cast, seed, scripts);
    } catch (error) {
      await stage.close();
      throw error;
    }
    return stage;
  }

  get servers(): Member[] {
    return this.members.filter(({ kind }) => kind === 'server');
  }

  get clients(): Member[] {
    return this.members.filter(({ kind }) => kind === 'client');
  }

  /** Breaks the connections of all members, as an operator does. */
  async killConnections(): Promise<void> {
    const list = (await this.admin.client('LIST')) as string;
    for (const [, id] of list.matchAll(/^id=(\d+) .* name=nestjs-redis-streams:/gm)) {
      await this.admin.client('KILL', 'ID', Number(id));
    }
  }

  /** Resolves when the service has one dead letter more. */
  async nextDeadLetter(service: ServiceName): Promise<void> {
    const before = await this.admin.xlen(this.keys.dead(service));
    await eventually(
      async () => (await this.admin.xlen(this.keys.dead(service))) > before,
      `a dead letter of ${service}`,
      POISONED_WITHIN_MS,
    ).catch((error: unknown) => this.troubles.push(String(error)));
  }

  /** What is not settled: `<stream> <group>: ...`, for each group that has something pending or not yet delivered. */
  async unsettled(): Promise<string[]> {
    const lines: string[] = [];
    const inbox = this.keys.inbox(ASKED);
    for (const [stream, group] of [
      [inbox, ASKED],
      ...[...SERVICES, RECORDER].map((service) => [this.topic, service]),
    ] as [string, string][]) {
      const line = await this.unsettledOf(stream, group);
      if (line) {
        lines.push(`${stream} ${group}: ${line}`);
      }
    }
    return lines;
  }

  /** The ids of the messages that are dead letters of a service. */
  async deadLetters(service: ServiceName): Promise<string[]> {
    const entries = await this.admin.xrange(this.keys.dead(service), '-', '+');
    return entries.map(([id, fields]) => messageOf(fields)?.id ?? `of entry ${id}, which holds no message`);
  }

  /** How often each command has been called since Redis was started. */
  async commandCalls(): Promise<Map<string, number>> {
    const stats = await this.admin.info('commandstats');
    return new Map(
      [...stats.matchAll(/^cmdstat_(.+):calls=(\d+)/gm)].map(([, name, n]) => [name!, Number(n)]),
    );
  }

  /** Leaves the folder of books where it is, and logs beside them; returns its path. */
  keep(): string {
    this.isKept = true;
    return this.folder;
  }

  async close(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
    await this.recorder.stop();
    this.admin.disconnect();
    await Promise.all(this.proxies.map((proxy) => proxy.stop()));
    await this.redis.stop();
    if (!this.isKept) {
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  private async unsettledOf(stream: string, group: string): Promise<string | undefined> {
    const groups = (await this.admin.xinfo('GROUPS', stream).catch(() => [])) as unknown[][];
    const info = groups.map(toRecord).find(({ name }) => name === group);
    if (!info) {
      return 'the group is gone';
    }
    const [next] = await this.admin.xrange(stream, `(${String(info['last-delivered-id'])}`, '+', 'COUNT', 1);
    if (next) {
      return `not delivered from ${next[0]} on`;
    }
    const [count, , , consumers] = (await this.admin.xpending(stream, group)) as [
      number,
      string,
      string,
      [string, string][] | null,
    ];
    return count === 0
      ? undefined
      : `${count} pending, of ${(consumers ?? []).map(([name, n]) => `${name} (${n})`).join(', ')}`;
  }

  private async addServers(cast: Cast, scripts: CompiledScripts): Promise<void> {
    for (const service of SERVICES) {
      for (let i = 1; i <= cast.instances; i++) {
        await this.add('server', `${service}-${i}`, cast, scripts, (_, connection, book): ServerSetup => {
          return { connection, book, service, lease: cast.lease, maxDeliveries: cast.maxDeliveries };
        });
      }
    }
    await Promise.all(this.servers.map((member) => member.start()));
  }

  private async addClients(cast: Cast, seed: number, scripts: CompiledScripts): Promise<void> {
    const { rates, timeout, failing, doomed } = cast;
    for (let i = 1; i <= cast.clients; i++) {
      await this.add('client', `client-${i}`, cast, scripts, (name, connection, book, nth): ClientSetup => {
        return { name, connection, book, seed: seed + 1_000 * i + nth, rates, timeout, failing, doomed };
      });
    }
    await Promise.all(this.clients.map((member) => member.start()));
  }

  private async add(
    kind: Member['kind'],
    name: string,
    { login }: Cast,
    scripts: CompiledScripts,
    setup: (
      process: string,
      connection: ServerSetup['connection'],
      book: string,
      generation: number,
    ) => object,
  ): Promise<void> {
    const proxy = await Proxy.start(this.redis.port);
    this.proxies.push(proxy);
    const url = login ? proxy.url.replace('//', `//${login}@`) : proxy.url;
    const natMap = {
      [`127.0.0.1:${this.redis.port}`]: { host: '127.0.0.1', port: Number(new URL(url).port) },
    };
    const connection = IS_CLUSTER ? { cluster: { nodes: [url], options: { natMap } } } : url;
    this.members.push(
      new Member({
        name,
        kind,
        proxy,
        scripts,
        books: this.books,
        logs: this.logs,
        setup: (process, book, generation) => setup(process, connection, book, generation),
        trouble: (line) => this.troubles.push(line),
      }),
    );
  }
}

function toRecord(flat: unknown[]): Record<string, unknown> {
  return Object.fromEntries(
    Array.from({ length: flat.length / 2 }, (_, i) => [String(flat[2 * i]), flat[2 * i + 1]]),
  );
}
