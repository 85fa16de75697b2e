import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformSync } from '@swc/core';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** `lib/` as JavaScript in a folder of its own, for scripts that run in a process of theirs. */
export class CompiledLib {
  /** Inside the package, so that its dependencies are found. */
  private readonly folder: string;

  constructor() {
    mkdirSync(join(ROOT, 'build'), { recursive: true });
    this.folder = mkdtempSync(join(ROOT, 'build', 'lib-'));
    const lib = join(ROOT, 'lib');
    for (const name of readdirSync(lib, { recursive: true, encoding: 'utf8' })) {
      if (name.endsWith('.ts')) {
        this.compile(join(lib, name));
      }
    }
  }

  /**
   * Runs an ES module, in which `./lib/index.js` is this package, with the argument in `process.argv[2]`. Resolves when
   * the process has ended by itself, with what it wrote; kills it, and rejects, when it has not after `withinMs`.
   */
  async run(
    script: string,
    argument: string,
    withinMs: number,
  ): Promise<{ code: number | null; output: string }> {
    const path = join(this.folder, 'script.mjs');
    writeFileSync(path, script);
    const child = spawn(process.execPath, [path, argument], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error(`The process did not end within ${withinMs} ms; it wrote: ${output}`));
      }, withinMs);
      child.once('close', (code) => {
        clearTimeout(timer);
        resolve({ code, output });
      });
    });
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  private compile(file: string): void {
    const { code } = transformSync(readFileSync(file, 'utf8'), {
      filename: file,
      jsc: {
        parser: { syntax: 'typescript', decorators: true },
        transform: { legacyDecorator: true, decoratorMetadata: true },
        target: 'es2022',
      },
      module: { type: 'es6' },
    });
    const target = join(this.folder, relative(ROOT, file).replace(/\.ts$/, '.js'));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, code);
  }
}
