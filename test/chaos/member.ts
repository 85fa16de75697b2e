import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CompiledScripts, RunningScript } from '../support/child-process.js';
import type { Proxy } from '../support/proxy.js';
import { AT_WORK, NOT_YET } from './load.js';
import type { Line } from './records.js';

/** Redis may be away while a process starts. */
const AT_WORK_WITHIN_MS = 60_000;

/** A client waits for its answers, a server for its handlers. */
const ENDS_WITHIN_MS = 30_000;

/** What a member is made from. */
export interface MemberOptions {
  name: string;
  kind: 'server' | 'client';
  proxy: Proxy;
  scripts: CompiledScripts;
  /** The folder of books. */
  books: string;
  /** The folder of what the processes have logged. */
  logs: string;
  /** What a process is told. */
  setup: (process: string, book: string, generation: number) => object;
  /** Takes what went wrong without a fault that explains it. */
  trouble: (line: string) => void;
}

/**
 * A place in the cast, such as `mail-1`: one process after another fills it, each connected through the member's own
 * proxy and with a book of its own. Whoever ends without having been told to is reported and replaced, except that a
 * process may kill itself by what it handles, and say so first.
 */
export class Member {
  /** Processes that were killed, by name. */
  readonly killed = new Set<string>();
  private script: RunningScript | undefined;
  /** Processes that were told to end, by name. */
  private readonly told = new Set<string>();
  private generation = 0;

  constructor(private readonly options: MemberOptions) {}

  get name(): string {
    return this.options.name;
  }

  get kind(): 'server' | 'client' {
    return this.options.kind;
  }

  get proxy(): Proxy {
    return this.options.proxy;
  }

  /** Starts a process, and again while Redis refuses it at its start; resolves when it works. */
  async start(): Promise<void> {
    let script: RunningScript;
    do {
      script = await this.launch();
    } while (script.ending === `code ${NOT_YET}`);
  }

  /** SIGKILL; resolves when it is dead. */
  async kill(): Promise<void> {
    this.killed.add(this.process);
    await this.tellToEnd('SIGKILL');
  }

  /** SIGTERM; resolves when the process has ended in its own time. One that does not end is reported and killed. */
  async end(): Promise<void> {
    const { script, process } = this;
    const timer = setTimeout(() => {
      this.options.trouble(`${process} did not end within ${ENDS_WITHIN_MS} ms of SIGTERM`);
      script?.signal('SIGKILL');
    }, ENDS_WITHIN_MS);
    await this.tellToEnd('SIGTERM');
    clearTimeout(timer);
  }

  signal(signal: NodeJS.Signals): void {
    this.script?.signal(signal);
  }

  /** Resolves when the process works, or has ended as it may. */
  private async launch(): Promise<RunningScript> {
    const { kind, scripts, books, setup } = this.options;
    this.generation++;
    const { process } = this;
    const book = join(books, process);
    const script = scripts.run(`children/${kind}`, JSON.stringify(setup(process, book, this.generation)));
    this.script = script;
    void script.ended.then(() => this.ended(script, process, book));
    await script.says(AT_WORK, AT_WORK_WITHIN_MS).catch((error: unknown) => {
      if (!this.mayEnd(script, process)) {
        throw error;
      }
    });
    return script;
  }

  private mayEnd(script: RunningScript, process: string): boolean {
    return this.told.has(process) || script.ending === `code ${NOT_YET}`;
  }

  /** The name of the present process. */
  private get process(): string {
    return `${this.name}.${this.generation}`;
  }

  private async tellToEnd(signal: NodeJS.Signals): Promise<void> {
    this.told.add(this.process);
    await this.script?.end(signal);
  }

  private async ended(script: RunningScript, process: string, book: string): Promise<void> {
    writeFileSync(join(this.options.logs, process), script.output);
    const errors = script.errorOutput.trim();
    if (errors !== '') {
      this.options.trouble(`${process} wrote to stderr: ${errors}`);
    }
    if (this.mayEnd(script, process)) {
      return;
    }
    this.killed.add(process);
    if (!hasKilledItself(book)) {
      this.options.trouble(`${process} ended by itself (${script.ending}): ${lastLines(script.output)}`);
    }
    await this.start().catch((error: unknown) => this.options.trouble(String(error)));
  }
}

function hasKilledItself(book: string): boolean {
  const last = readFileSync(book, 'utf8').trimEnd().split('\n').at(-1);
  return last !== undefined && last !== '' && (JSON.parse(last) as Line).what === 'killing itself';
}

function lastLines(text: string): string {
  return text.trimEnd().split('\n').slice(-10).join('\n');
}
