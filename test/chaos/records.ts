import { openSync, readFileSync, readdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** What a client writes down of its messages. */
export type ClientRecord =
  | { what: 'emitting'; id: string; doomed?: true }
  | { what: 'confirmed'; id: string }
  | { what: 'unconfirmed'; id: string; code: string; message: string }
  | { what: 'asking'; id: string }
  | { what: 'answered'; id: string }
  | { what: 'failed'; id: string; code: string; message: string };

/** What a handler writes down of the message it handles. */
export interface HandlerRecord {
  what: 'began' | 'handled' | 'threw' | 'killing itself';
  id: string;
  service: string;
  /** The entry's id in its stream. */
  entry: string;
  deliveries: number;
}

/** A line of a process's own book. `at`: milliseconds, by the clock of the machine that all processes share. */
export type Line = (ClientRecord | HandlerRecord) & { at: number };

/** A line, and the process that wrote it: the member's name and the how manieth process of it this is, `mail-1.3`. */
export type Entry = Line & { process: string };

/**
 * A process's book: a file that no fault touches. A line is handed to the system before the call returns, so that it
 * outlives a SIGKILL of the process in the next instant.
 */
export class Book {
  private readonly file: number;

  constructor(path: string) {
    this.file = openSync(path, 'a');
  }

  write(record: ClientRecord | HandlerRecord): void {
    writeSync(this.file, `${JSON.stringify({ at: Date.now(), ...record })}\n`);
  }
}

/** What the books of a folder say of messages, each in the order of time, as text. */
export function trails(folder: string, ids: readonly string[]): string[] {
  const wanted = new Set(ids);
  return [...readBooks(folder)]
    .filter(({ id }) => wanted.has(id))
    .sort((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id) || a.at - b.at)
    .map(({ at, id, process, what, ...rest }) => {
      return `${new Date(at).toISOString()} ${id} ${what} (${process}) ${JSON.stringify(rest)}`;
    });
}

/** Everything in the books of a folder, a process after the other. */
export function* readBooks(folder: string): Generator<Entry> {
  for (const name of readdirSync(folder).sort()) {
    for (const line of readFileSync(join(folder, name), 'utf8').split('\n')) {
      if (line !== '') {
        yield { ...(JSON.parse(line) as Line), process: name };
      }
    }
  }
}
