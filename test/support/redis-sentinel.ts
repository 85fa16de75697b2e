import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { ensureRedis } from './redis-binary.js';
import { freePort, RedisServer } from './redis-server.js';
import { eventually } from './wait.js';

const SENTINELS = 3;
const QUORUM = 2;
const NAME = 'the-master';

/** How long a master may be silent before sentinels take it for dead. */
const DOWN_AFTER_MS = 1_000;
const READY_WITHIN_MS = 20_000;

/** A master, its replica, and three sentinels that watch over them: processes on loopback. */
export class RedisSentinel {
  private readonly folder = mkdtempSync(join(tmpdir(), 'redis-streams-'));
  private readonly sentinels: { port: number; child: ChildProcess; look: Redis }[] = [];

  private constructor(
    readonly master: RedisServer,
    readonly replica: RedisServer,
  ) {}

  static async start(): Promise<RedisSentinel> {
    const master = await RedisServer.startOn(await freePort(), '--repl-diskless-sync-delay', '0');
    const replica = await RedisServer.startOn(
      await freePort(),
      '--replicaof',
      '127.0.0.1',
      String(master.port),
    );
    const all = new RedisSentinel(master, replica);
    try {
      for (let i = 0; i < SENTINELS; i++) {
        await all.addSentinel(i);
      }
      await all.ready();
    } catch (error) {
      await all.stop();
      throw error;
    }
    return all;
  }

  /** For the option `connection`. */
  get connection(): { sentinels: { host: string; port: number }[]; name: string } {
    return { sentinels: this.sentinels.map(({ port }) => ({ host: '127.0.0.1', port })), name: NAME };
  }

  /** The port of the master, as most sentinels see it. */
  async masterPort(): Promise<number> {
    const ports = await Promise.all(
      this.sentinels.map(async ({ look }) => {
        const address = (await look.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)) as [string, string];
        return Number(address[1]);
      }),
    );
    return ports.sort()[Math.floor(ports.length / 2)]!;
  }

  /** Has the replica promoted, though the master is well. It becomes a replica of the other. */
  async failOver(): Promise<void> {
    await this.sentinels[0]!.look.call('SENTINEL', 'FAILOVER', NAME);
  }

  async stop(): Promise<void> {
    for (const { child, look } of this.sentinels) {
      look.disconnect();
      if (child.exitCode === null) {
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        await exited;
      }
    }
    rmSync(this.folder, { recursive: true, force: true });
    await Promise.all([this.master.stop(), this.replica.stop()]);
  }

  private async addSentinel(i: number): Promise<void> {
    const port = await freePort();
    const config = join(this.folder, `sentinel-${i}.conf`);
    writeFileSync(
      config,
      [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${this.folder}`,
        `sentinel monitor ${NAME} 127.0.0.1 ${this.master.port} ${QUORUM}`,
        `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
        `sentinel failover-timeout ${NAME} 5000`,
        '',
      ].join('\n'),
    );
    const child = spawn(
      ensureRedis(() => undefined),
      [config, '--sentinel'],
      { stdio: 'ignore' },
    );
    const look = new Redis(port, '127.0.0.1', { disconnectTimeout: 100 });
    // It is connected to while the process starts.
    look.on('error', () => undefined);
    this.sentinels.push({ port, child, look });
  }

  /** Every sentinel knows the replica and the other sentinels. */
  private async ready(): Promise<void> {
    for (const { port, look } of this.sentinels) {
      const knowsAll = async (): Promise<boolean> => {
        const info = await look.info('sentinel');
        return (
          info.includes(`status=ok`) && info.includes('slaves=1') && info.includes(`sentinels=${SENTINELS}`)
        );
      };
      await eventually(knowsAll, `sentinel ${port} to know all others`, READY_WITHIN_MS);
    }
  }
}
