import { Redis } from 'ioredis';

/** The stream of requests, and the group that reads it and the topics. */
export const INBOX = 'inbox';
export const GROUP = 'bench';
/** The one field of an entry. */
export const FIELD = 'm';
/** How long a read waits before it asks again. */
export const BLOCK_MS = 5_000;

/** A request or an event: `id` is the client's name, a dot and a number; events have none. */
export interface Message {
  id?: string;
  data: { a: number; b: number } | { text: string } | { n: number };
}

/** Answers, packed: the number of the request, and the value. */
export type Replies = [number, unknown][];

/** What XREAD and XREADGROUP answer. */
export type StreamReply = [stream: string, entries: [id: string, fields: string[]][]][] | null;

export function topicOf(number: number): string {
  return `topic.${number}`;
}

export function connectTo(port: number): Promise<Redis> {
  const redis = new Redis(port, '127.0.0.1', { lazyConnect: true, maxRetriesPerRequest: null });
  redis.on('error', endProcess);
  return redis.connect().then(() => redis);
}

/** Has all that `write` sends leave in one write to the socket. */
export function corked(redis: Redis, write: () => void): void {
  const { stream } = redis;
  stream.cork();
  try {
    write();
  } finally {
    stream.uncork();
  }
}

/** A measurement cannot go on after an error here: the main process reports what this writes. */
export function endProcess(error: unknown): never {
  console.error(error);
  process.exit(1);
}
