import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureRedis } from './redis-binary.js';

const READY_WITHIN_MS = 10_000;

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
    return RedisServer.startOn(await freePort(), ...args);
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
