import type { Redis } from 'ioredis';
import type { BenchServer } from '../system.js';
import type { Work } from '../work.js';
import {
  BLOCK_MS,
  connectTo,
  corked,
  endProcess,
  FIELD,
  GROUP,
  INBOX,
  topicOf,
  type Message,
  type Replies,
  type StreamReply,
} from './wire.js';

/** The batches that this package's intake reads. */
const REQUESTS_AT_ONCE = 48;
const EVENTS_AT_ONCE = 64;
/** Entries that are acknowledged between two trims of their stream. */
const TRIM_EVERY = 1_000;

/** Reads a batch, answers to each client in one entry, acknowledges the batch, all in one write. */
export class PingPongServer implements BenchServer {
  private readonly consumer = `server-${process.pid}`;
  private commands: Redis | undefined;
  private readers: Redis[] = [];

  constructor(
    private readonly port: number,
    private readonly topics: number,
    private readonly work: Work,
  ) {}

  async start(): Promise<void> {
    this.commands = await connectTo(this.port);
    const topics = Array.from({ length: this.topics }, (_, i) => topicOf(i));
    for (const stream of [INBOX, ...topics]) {
      await this.makeGroup(stream);
    }
    await this.startReading([INBOX], REQUESTS_AT_ONCE);
    if (topics.length > 0) {
      await this.startReading(topics, Math.max(1, Math.floor(EVENTS_AT_ONCE / topics.length)));
    }
  }

  close(): Promise<void> {
    const connections = [this.commands, ...this.readers];
    this.readers = [];
    connections.forEach((redis) => redis?.disconnect());
    return Promise.resolve();
  }

  private async makeGroup(stream: string): Promise<void> {
    try {
      await this.commands!.xgroup('CREATE', stream, GROUP, '0', 'MKSTREAM');
    } catch (error) {
      // Another server process has made it.
      if (!(error instanceof Error && error.message.startsWith('BUSYGROUP'))) {
        throw error;
      }
    }
  }

  private async startReading(streams: readonly string[], count: number): Promise<void> {
    const reader = await connectTo(this.port);
    this.readers.push(reader);
    this.read(reader, streams, count).catch((error: unknown) => this.readers.length > 0 && endProcess(error));
  }

  private async read(reader: Redis, streams: readonly string[], count: number): Promise<void> {
    const ids = streams.map(() => '>');
    const acknowledged = new Map(streams.map((stream) => [stream, 0]));
    while (this.readers.includes(reader)) {
      const reply = (await reader.xreadgroup(
        'GROUP',
        GROUP,
        this.consumer,
        'COUNT',
        count,
        'BLOCK',
        BLOCK_MS,
        'STREAMS',
        ...streams,
        ...ids,
      )) as StreamReply;
      for (const [stream, entries] of reply ?? []) {
        const total = acknowledged.get(stream)! + entries.length;
        acknowledged.set(stream, total % TRIM_EVERY);
        this.handle(stream, entries, total >= TRIM_EVERY);
      }
    }
  }

  private handle(stream: string, entries: [id: string, fields: string[]][], trims: boolean): void {
    const replies = new Map<string, Replies>();
    for (const [, fields] of entries) {
      const { id, data } = JSON.parse(fields[1]!) as Message;
      if (id === undefined) {
        this.work.note((data as { n: number }).n);
        continue;
      }
      const value = 'text' in data ? data.text : 'a' in data ? this.work.sum(data.a, data.b) : undefined;
      const dot = id.indexOf('.');
      const client = id.slice(0, dot);
      const ofClient = replies.get(client) ?? [];
      ofClient.push([Number(id.slice(dot + 1)), value]);
      replies.set(client, ofClient);
    }
    const commands = this.commands!;
    corked(commands, () => {
      for (const [client, ofClient] of replies) {
        commands.xadd(`reply.${client}`, '*', FIELD, JSON.stringify(ofClient)).catch(endProcess);
      }
      const ids = entries.map(([id]) => id);
      commands.xack(stream, GROUP, ...ids).catch(endProcess);
      if (trims) {
        // Other servers may still have older ones, which are in memory there: nothing here is ever read again.
        commands.xtrim(stream, 'MINID', '~', ids[0]!).catch(endProcess);
      }
    });
  }
}
