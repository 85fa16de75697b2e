import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { FromService, ToService } from './messages.js';

/** Longer than a service gives itself. */
const END_WITHIN_MS = 4_000;

/** What a service tells of its work. */
export type Report = Exclude<FromService, { kind: 'ready' }>;

export interface ServiceOptions {
  /** How it is called in what the demo prints. */
  name: string;
  /** Its folder, beside this one. */
  folder: string;
  env: NodeJS.ProcessEnv;
  /** Called with what it tells, once it is ready. */
  onReport: (report: Report) => void;
  /** Called when it ends without having been told to. */
  onUnexpectedEnd: (error: Error) => void;
}

/** One service of the demo, seen from `main.ts`: a process that gets ready, and ends when it is told to. */
export class Service {
  /** Resolves once it listens, with its URL if it has one. */
  readonly ready: Promise<string | undefined>;
  private readonly child: ChildProcess;
  private readonly ended: Promise<number | null>;
  private isStopping = false;

  constructor(private readonly options: ServiceOptions) {
    const { folder, env } = options;
    const child = fork(join(import.meta.dirname, '..', folder, 'main.js'), { env });
    this.child = child;
    this.ended = new Promise((resolve) => {
      child.once('exit', resolve);
      child.once('error', () => resolve(null));
    });
    void this.ended.then((code) => {
      if (!this.isStopping) {
        options.onUnexpectedEnd(new Error(`${this.toString()} ended by itself, with exit code ${code}`));
      }
    });
    this.ready = new Promise((resolve) => {
      child.on('message', (message: FromService) => {
        if (message.kind === 'ready') {
          resolve(message.url);
        } else {
          options.onReport(message);
        }
      });
    });
  }

  /** For people: its name, and the process that it is. */
  toString(): string {
    return `${this.options.name} (process ${this.child.pid})`;
  }

  /** Ends the process at once, as a crash would: it does not get to finish, or to tell, anything. */
  async kill(): Promise<void> {
    this.isStopping = true;
    this.child.kill('SIGKILL');
    await this.ended;
  }

  /** Ends the process, by force if it takes too long. Resolves with whether it ended in good order. */
  async stop(): Promise<boolean> {
    this.isStopping = true;
    const force = setTimeout(() => this.child.kill('SIGKILL'), END_WITHIN_MS);
    if (this.child.connected) {
      // Should it end at this very moment, there is nobody left to tell.
      this.child.send({ kind: 'stop' } satisfies ToService, () => undefined);
    }
    const code = await this.ended;
    clearTimeout(force);
    return code === 0;
  }
}
