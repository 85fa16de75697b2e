import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { ioredisArguments } from './ioredis.js';
import type { Answer, ChildSetup, Order, OrderName, Orders } from './protocol.js';

const START_WITHIN_MS = 30_000;
/** Until a child that has been told to end is killed. */
const END_WITHIN_MS = 3_000;
/** Of what a child wrote to stderr, for the message of its failure. */
const KEPT_OUTPUT = 2_000;

interface Waiting {
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

/** A server or a client in a process of its own, as the main process sees it. Starting, ready, then ended. */
export class Child {
  private readonly waiting = new Map<number, Waiting>();
  private lastId = 0;
  private errors = '';
  private ended: string | undefined;

  private constructor(
    private readonly role: string,
    private readonly child: ChildProcess,
  ) {
    child.stderr?.on('data', (chunk: Buffer) => {
      this.errors = (this.errors + chunk.toString()).slice(-KEPT_OUTPUT);
    });
    child.on('message', (answer: Answer) => this.take(answer));
    child.on('error', (error) => this.fail(error.message));
    // Not on 'close', which Node does not emit for a child that was disconnected from here.
    child.on('exit', (code, signal) => {
      const tell = (): void => this.fail(`ended with ${signal ?? code}`);
      if (child.stderr?.closed === false) {
        child.stderr.once('close', tell);
      } else {
        tell();
      }
    });
  }

  /** @param folder where the compiled `server.js` and `client.js` are */
  static async start(role: 'server' | 'client', folder: string, setup: ChildSetup): Promise<Child> {
    const file = join(folder, 'processes', `${role}.js`);
    const process = fork(file, [JSON.stringify(setup)], {
      execArgv: ['--expose-gc', ...ioredisArguments()],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    const child = new Child(`${role} of ${setup.system}`, process);
    try {
      await child.expect(0, START_WITHIN_MS, 'did not start');
    } catch (error) {
      await child.stop();
      throw error;
    }
    return child;
  }

  /** Rejects where the child fails, ends or does not answer in time. */
  ask<Name extends OrderName>(
    name: Name,
    argument: Orders[Name]['argument'],
    withinMs: number,
  ): Promise<Orders[Name]['result']> {
    const order: Order<Name> = { id: ++this.lastId, name, argument };
    const answer = this.expect(order.id, withinMs, `did not answer to '${name}'`);
    if (this.ended === undefined) {
      this.child.send(order);
    }
    return answer as Promise<Orders[Name]['result']>;
  }

  /** Ends the process, whatever it is doing. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null || this.child.pid === undefined) {
      return;
    }
    const exited = once(this.child, 'exit');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), END_WITHIN_MS);
    if (this.child.connected) {
      this.child.disconnect();
    }
    await exited;
    clearTimeout(timer);
  }

  private expect(id: number, withinMs: number, complaint: string): Promise<unknown> {
    if (this.ended !== undefined) {
      return Promise.reject(new Error(this.ended));
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new Error(`The ${this.role} ${complaint} within ${withinMs / 1000} s${this.output}`));
      }, withinMs);
      this.waiting.set(id, { resolve, reject, timer });
    });
  }

  private take({ id, result, error }: Answer): void {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    clearTimeout(waiting?.timer);
    if (error === undefined) {
      waiting?.resolve(result);
    } else {
      waiting?.reject(new Error(`The ${this.role} failed: ${error}`));
    }
  }

  private fail(how: string): void {
    this.ended ??= `The ${this.role} ${how}${this.output}`;
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(new Error(this.ended));
    }
    this.waiting.clear();
  }

  /** What went wrong in the child, as far as it wrote that: the error's own line, else all. */
  private get output(): string {
    const lines = this.errors.split('\n').map((line) => line.trim());
    const text = lines.find((line) => /^\w*Error\b/.test(line)) ?? lines.join(' ').trim();
    return text && `: ${text}`;
  }
}
