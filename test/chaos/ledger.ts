import { SERVICES, type ServiceName } from './load.js';
import { readBooks, type Entry, type HandlerRecord } from './records.js';

/** How a call ended that did not succeed. */
export interface Failure {
  code: string;
  message: string;
}

/** What is on record of a message, whoever wrote it. Times are milliseconds of the machine's clock. */
export interface Life {
  id: string;
  /** The process that sent it. */
  client: string;
  sentAt: number;
  /** When the call succeeded or failed; missing where it did neither. */
  endedAt?: number;
  failure?: Failure;
  /** How often its handler has ended well, by service. */
  handled: Map<string, number>;
  /** Its entries' ids, as the handlers saw them. */
  entries: Set<string>;
}

/** An event. */
export interface EventLife extends Life {
  /** Its handlers always fail. */
  isDoomed: boolean;
  /** Its entries in the topic's history. */
  stored: number;
  /** The services in which it is a dead letter. */
  dead: Set<ServiceName>;
}

/** What Redis tells at the end. */
export interface Remains {
  stored: ReadonlyMap<string, ReadonlySet<string>>;
  dead: ReadonlyMap<ServiceName, readonly string[]>;
}

/** Everything that was sent, and what became of it. */
export class Ledger {
  readonly requests = new Map<string, Life>();
  readonly events = new Map<string, EventLife>();
  /** Dead letters of messages that nobody has sent. */
  readonly strangers: string[] = [];

  constructor(books: string, { stored, dead }: Remains) {
    // Senders first: a handler's line needs a life to belong to.
    const lines = [...readBooks(books)];
    lines.filter((line) => !isByHandler(line)).forEach((line) => this.takeSender(line));
    lines.forEach((line) => isByHandler(line) && this.takeHandler(line));
    for (const [id, entries] of stored) {
      const event = this.events.get(id);
      if (event) {
        event.stored = entries.size;
      }
    }
    for (const service of SERVICES) {
      for (const id of dead.get(service) ?? []) {
        this.takeDead(service, id);
      }
    }
  }

  private takeSender(line: Entry): void {
    const { id, at, process } = line;
    const life = { id, client: process, sentAt: at, handled: new Map(), entries: new Set<string>() };
    switch (line.what) {
      case 'asking':
        this.requests.set(id, life);
        return;
      case 'emitting':
        this.events.set(id, { ...life, isDoomed: line.doomed === true, stored: 0, dead: new Set() });
        return;
      case 'failed':
      case 'unconfirmed':
        this.end(id, at, { code: line.code, message: line.message });
        return;
      default:
        this.end(id, at);
    }
  }

  private end(id: string, at: number, failure?: Failure): void {
    const life = this.requests.get(id) ?? this.events.get(id);
    if (life) {
      life.endedAt = at;
      life.failure = failure;
    }
  }

  private takeHandler({ id, what, service, entry }: Entry & HandlerRecord): void {
    const life = this.requests.get(id) ?? this.events.get(id);
    if (!life) {
      this.strangers.push(`${id}, handled by ${service}`);
      return;
    }
    life.entries.add(entry);
    if (what === 'handled') {
      life.handled.set(service, (life.handled.get(service) ?? 0) + 1);
    }
  }

  private takeDead(service: ServiceName, id: string): void {
    const event = this.events.get(id);
    if (event) {
      event.dead.add(service);
    } else if (!this.requests.has(id)) {
      this.strangers.push(`${id}, a dead letter of ${service}`);
    }
  }
}

function isByHandler(line: Entry): line is Entry & HandlerRecord {
  return 'deliveries' in line;
}
