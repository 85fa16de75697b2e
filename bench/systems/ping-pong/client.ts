import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { notOffered, type BenchClient } from '../system.js';
import { Turn } from '../turn.js';
import {
  BLOCK_MS,
  connectTo,
  corked,
  endProcess,
  FIELD,
  INBOX,
  topicOf,
  type Message,
  type Replies,
  type StreamReply,
} from './wire.js';

/** KEYS: a stream. ARGV: messages. Adds each as an entry of its own; a script, so that a turn is one command. */
const ADD_EACH = `for i = 1, #ARGV do redis.call('XADD', KEYS[1], '*', '${FIELD}', ARGV[i]) end`;
/** Entries of replies that are read between two trims. */
const TRIM_EVERY = 64;

/** Sends the requests of a turn together; takes packed replies from a stream of its own. */
export class PingPongClient implements BenchClient {
  private readonly name = randomUUID().slice(0, 8);
  private readonly replies = `reply.${this.name}`;
  private readonly pending = new Map<number, (value: unknown) => void>();
  private readonly requests = new Turn<string>(
    (messages) => void this.add(INBOX, messages).catch(endProcess),
  );
  private readonly events = new Turn<{ message: string; done: () => void }>((events) => this.publish(events));
  private lastNumber = 0;
  private script = '';
  private commands: Redis | undefined;
  private reader: Redis | undefined;

  constructor(private readonly port: number) {}

  async connect(): Promise<void> {
    this.commands = await connectTo(this.port);
    this.reader = await connectTo(this.port);
    this.script = (await this.commands.script('LOAD', ADD_EACH)) as string;
    this.read(this.reader).catch((error: unknown) => this.reader && endProcess(error));
  }

  request(a: number, b: number): Promise<number> {
    return this.ask({ a, b }) as Promise<number>;
  }

  echo(text: string): Promise<string> {
    return this.ask({ text }) as Promise<string>;
  }

  emit(n: number): Promise<void> {
    const message = JSON.stringify({ data: { n } } satisfies Message);
    return new Promise((done) => this.events.add({ message, done }));
  }

  stream(): Promise<number> {
    return notOffered('answers of several values');
  }

  close(): Promise<void> {
    const connections = [this.commands, this.reader];
    this.commands = this.reader = undefined;
    connections.forEach((redis) => redis?.disconnect());
    return Promise.resolve();
  }

  private ask(data: Message['data']): Promise<unknown> {
    const number = ++this.lastNumber;
    this.requests.add(JSON.stringify({ id: `${this.name}.${number}`, data } satisfies Message));
    return new Promise((resolve) => this.pending.set(number, resolve));
  }

  private publish(events: readonly { message: string; done: () => void }[]): void {
    const messages = events.map(({ message }) => message);
    this.add(topicOf(0), messages).then(() => events.forEach(({ done }) => done()), endProcess);
  }

  /** A script brings nothing where there is only one. */
  private async add(stream: string, messages: readonly string[]): Promise<void> {
    await (messages.length === 1
      ? this.commands!.xadd(stream, '*', FIELD, messages[0]!)
      : this.commands!.evalsha(this.script, 1, stream, ...messages));
  }

  private async read(reader: Redis): Promise<void> {
    let last = '0';
    let sinceTrim = 0;
    while (this.reader === reader) {
      const reply: StreamReply = await reader.xread('BLOCK', BLOCK_MS, 'STREAMS', this.replies, last);
      for (const [id, fields] of reply?.[0]?.[1] ?? []) {
        last = id;
        sinceTrim++;
        for (const [number, value] of JSON.parse(fields[1]!) as Replies) {
          this.pending.get(number)?.(value);
          this.pending.delete(number);
        }
      }
      if (sinceTrim >= TRIM_EVERY && this.commands) {
        sinceTrim = 0;
        // Of no hurry: leaves with the requests that these replies lead to.
        const { commands } = this;
        corked(commands, () => void commands.xtrim(this.replies, 'MINID', last).catch(endProcess));
      }
    }
  }
}
