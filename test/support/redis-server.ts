import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { ensureRedis } from './redis-binary.js';
import { eventually } from './wait.js';

const READY_WITHIN_MS = 10_000;

/** The port of a node's bus is by so much higher than its own. */
const BUS_OFFSET = 10_000;
const MAX_PORT = 65_535;

/**
 * Whether tests that know of one Redis only run on a cluster of one node: `npm run test:cluster`. It has all slots, and
 * refuses commands and scripts whose keys lie in several, as any cluster does.
 */
export const IS_CLUSTER = process.env['REDIS_STREAMS_TEST'] === 'cluster';

/** The rights that everybody needs there besides. */
export const FOR_CLUSTERS: readonly string[] = IS_CLUSTER ? ['+cluster|slots'] : [];

const SLOTS = 16_384;

/** A Redis of our own on a free port of loopback, in a temporary folder. */
export class RedisServer {
  private child: ChildProcess | undefined;
  private readonly folder = mkdtempSync(join(tmpdir(), 'redis-streams-'));

  private constructor(
    readonly port: number,
    private readonly binary: string,
    private readonly args: readonly string[],
  ) {}

  /** Starts a server; further arguments are those of redis-server (`'--appendonly', 'yes'`). */
  static async start(...args: string[]): Promise<RedisServer> {
    return IS_CLUSTER
      ? RedisServer.startOn(await freeClusterPort(), ...args, '--cluster-enabled', 'yes').then(ofOneNode)
      : RedisServer.startOn(await freePort(), ...args);
  }

  /** The same on a certain port. */
  static async startOn(port: number, ...args: string[]): Promise<RedisServer> {
    const server = new RedisServer(
      port,
      ensureRedis(() => undefined),
      args,
    );
    try {
      await server.start();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get isRunning(): boolean {
    return this.child !== undefined;
  }

  get pid(): number {
    if (this.child?.pid === undefined) {
      throw new Error('This Redis is not running');
    }
    return this.child.pid;
  }

  /** Starts it again, on the same port and in the same folder. */
  async start(): Promise<void> {
    const child = spawn(
      this.binary,
      ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.folder, '--save', '', ...this.args],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    this.child = child;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('redis-server did not get ready')), READY_WITHIN_MS);
      let output = '';
      child.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        if (output.includes('Ready to accept connections')) {
          clearTimeout(timer);
          resolve();
        }
      });
      child.once('exit', (code) => {
        clearTimeout(timer);
        reject(new Error(`redis-server ended with ${code}: ${output}`));
      });
    });
  }

  /** Ends the process; its data is lost unless it keeps an append-only file. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (child?.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill(signal);
      await exited;
    }
  }

  /** Holds the process up, or lets it go on, so that Redis does nothing meanwhile and keeps its connections. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.child?.kill(signal);
  }

  /** Removes what it has stored on disk; for a restart that comes up empty. */
  forget(): void {
    for (const name of readdirSync(this.folder)) {
      rmSync(join(this.folder, name), { recursive: true, force: true });
    }
  }

  /** Ends the process and removes its folder. */
  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A port of loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** One on which a cluster's node can listen, whose bus needs a port, too. */
export async function freeClusterPort(): Promise<number> {
  for (;;) {
    const port = await freePort();
    if (port + BUS_OFFSET <= MAX_PORT) {
      return port;
    }
  }
}

/** Gives a node all slots; it serves them about two seconds after it was started. */
async function ofOneNode(server: RedisServer): Promise<RedisServer> {
  const redis = new Redis(server.url, { disconnectTimeout: 100 });
  await redis.cluster('ADDSLOTS', ...Array.from({ length: SLOTS }, (_, slot) => slot));
  const isOk = async (): Promise<boolean> => String(await redis.cluster('INFO')).includes('cluster_state:ok');
  await eventually(isOk, 'the cluster to be whole');
  redis.disconnect();
  return server;
}
