import { transformFile } from '@swc/core';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { eventually } from './wait.js';

/** Jest runs in the folder of the repository. */
const ROOT = process.cwd();

/** Where the scripts of the e2e tests lie. */
const CHILDREN = 'test/support/children';

/** The library and a folder of scripts as JavaScript, in a temporary folder. */
export class CompiledScripts {
  private constructor(
    private readonly folder: string,
    private readonly scripts: string,
  ) {}

  /** Compiles `lib` and the scripts of a folder of the repository. */
  static async make(scripts = CHILDREN): Promise<CompiledScripts> {
    const folder = mkdtempSync(join(tmpdir(), 'redis-streams-compiled-'));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    await Promise.all(
      [...sources(join(ROOT, 'lib')), ...sources(join(ROOT, scripts))].map(async (file) => {
        const { code } = await transformFile(file, {
          jsc: {
            parser: { syntax: 'typescript', decorators: true },
            transform: { legacyDecorator: true, decoratorMetadata: true },
            target: 'es2022',
          },
          module: { type: 'es6' },
        });
        const target = join(folder, relative(ROOT, file)).replace(/\.ts$/, '.js');
        mkdirSync(dirname(target), { recursive: true });
        writeFileSync(target, code);
      }),
    );
    return new CompiledScripts(folder, scripts);
  }

  /** Runs a script of the folder in a process of its own. */
  run(script: string, ...args: string[]): RunningScript {
    return this.runWith([], script, ...args);
  }

  /** The same with options of Node's. */
  runWith(nodeOptions: readonly string[], script: string, ...args: string[]): RunningScript {
    const path = join(this.folder, this.scripts, `${script}.js`);
    const all = [...nodeOptions, path, ...args];
    return new RunningScript(spawn(process.execPath, all, { stdio: ['ignore', 'pipe', 'pipe'] }));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A process that tells what it does by lines. */
export class RunningScript {
  output = '';
  /** What of it was written to stderr. */
  errorOutput = '';
  /** Resolves when the process has ended, by whatever cause, and all it wrote is here. */
  readonly ended: Promise<void>;

  constructor(private readonly child: ChildProcess) {
    const take = (chunk: Buffer): void => void (this.output += chunk.toString());
    child.stdout?.on('data', take);
    child.stderr?.on('data', take);
    child.stderr?.on('data', (chunk: Buffer) => (this.errorOutput += chunk.toString()));
    this.ended = once(child, 'close').then(() => undefined);
  }

  /** Waits until it has written `text`. */
  async says(text: string, withinMs = 10_000): Promise<void> {
    await eventually(
      () => this.output.includes(text) || this.hasEnded,
      `the script to say '${text}'`,
      withinMs,
    );
    if (!this.output.includes(text)) {
      throw new Error(`The script ended without saying '${text}': ${this.output}`);
    }
  }

  get pid(): number {
    if (this.child.pid === undefined) {
      throw new Error('The process could not be started');
    }
    return this.child.pid;
  }

  /** Calls back when the process has ended. */
  onEnd(listener: () => void): void {
    this.child.once('exit', listener);
  }

  /** Sends a signal, and does not wait for what comes of it. */
  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** How it ended: `code 1`, `signal SIGKILL`. */
  get ending(): string {
    const { signalCode, exitCode } = this.child;
    return signalCode ? `signal ${signalCode}` : `code ${exitCode}`;
  }

  /** Sends a signal, and waits for the process to end. */
  async end(signal: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    if (!this.hasEnded) {
      const ended = once(this.child, 'exit');
      this.child.kill(signal);
      await ended;
    }
    return { code: this.child.exitCode, signal: this.child.signalCode };
  }
}

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
}
