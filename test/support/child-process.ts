import { transformFile } from '@swc/core';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { eventually } from './wait.js';

/** Jest runs in the folder of the repository. */
const ROOT = process.cwd();

/** The library and the scripts of `children/` as JavaScript, in a temporary folder. */
export class CompiledScripts {
  private constructor(private readonly folder: string) {}

  static async make(): Promise<CompiledScripts> {
    const folder = mkdtempSync(join(tmpdir(), 'redis-streams-compiled-'));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    await Promise.all(
      [...sources(join(ROOT, 'lib')), ...sources(join(ROOT, 'test/support/children'))].map(async (file) => {
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
    return new CompiledScripts(folder);
  }

  /** Runs a script of `children/` in a process of its own. */
  run(script: string, ...args: string[]): RunningScript {
    const path = join(this.folder, 'test/support/children', `${script}.js`);
    return new RunningScript(spawn(process.execPath, [path, ...args], { stdio: ['ignore', 'pipe', 'pipe'] }));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A process that tells what it does by lines. */
export class RunningScript {
  output = '';

  constructor(private readonly child: ChildProcess) {
    const take = (chunk: Buffer): void => void (this.output += chunk.toString());
    child.stdout?.on('data', take);
    child.stderr?.on('data', take);
  }

  /** Waits until it has written `text`. */
  async says(text: string): Promise<void> {
    await eventually(
      () => this.output.includes(text) || this.hasEnded,
      `the script to say '${text}'`,
      10_000,
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

  /** Sends a signal that does not end the process. */
  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
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
