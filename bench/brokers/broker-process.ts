import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { isExecutable } from '../../test/support/redis-binary.js';

/** Debian keeps servers where only root's PATH looks. */
const SERVER_FOLDERS = ['/usr/sbin', '/usr/local/sbin'];
/** Of what it wrote, for the message. */
const KEPT_OUTPUT = 1_000;
/** The kernel counts CPU time in hundredths of a second. */
const MICROS_PER_TICK = 10_000;
const END_WITHIN_MS = 10_000;

/** How a broker is started. */
export interface BrokerCommand {
  binary: string;
  args: readonly string[];
  env?: Readonly<Record<string, string>>;
  /** What it writes when it can be used. */
  readyText: string;
  readyWithinMs: number;
}

/** A broker's process, in a temporary folder of its own. */
export class BrokerProcess {
  readonly folder = mkdtempSync(join(tmpdir(), 'redis-streams-broker-'));
  private child: ChildProcess | undefined;
  private output = '';

  async start({ binary, args, env, readyText, readyWithinMs }: BrokerCommand): Promise<void> {
    const path = findBinary(binary);
    if (path === undefined) {
      throw new Error(`There is no ${binary} in PATH`);
    }
    // A group of its own: Ctrl-C must reach the benchmark alone, which ends it.
    const child = spawn(path, [...args], {
      cwd: this.folder,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.child = child;
    await new Promise<void>((resolve, reject) => {
      const fail = (how: string): void =>
        reject(new Error(`${binary} ${how}: ${this.output.trim().slice(-KEPT_OUTPUT)}`));
      const timer = setTimeout(() => fail('did not get ready'), readyWithinMs);
      const look = (chunk: Buffer): void => {
        this.output = (this.output + chunk.toString()).slice(-2 * KEPT_OUTPUT);
        if (this.output.includes(readyText)) {
          clearTimeout(timer);
          resolve();
        }
      };
      child.stdout.on('data', look);
      child.stderr.on('data', look);
      child.once('error', (error) => fail(error.message));
      child.once('exit', (code) => fail(`ended with ${code}`));
    });
  }

  /** Microseconds of CPU that all its threads have used; Linux alone tells. */
  cpu(): number | undefined {
    if (process.platform !== 'linux' || this.child?.pid === undefined) {
      return undefined;
    }
    const stat = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8');
    // After the name, which may hold spaces; user and system are the 14th and 15th of all.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * MICROS_PER_TICK;
  }

  async stop(): Promise<void> {
    const { child } = this;
    if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), END_WITHIN_MS);
      await exited;
      clearTimeout(timer);
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function findBinary(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...SERVER_FOLDERS];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}
