import type { Redis } from 'ioredis';

/** How many entries of a stream a group has not acknowledged; with `consumer`, those of one of its consumers. */
export async function pendingIn(
  redis: Redis,
  stream: string,
  group: string,
  consumer?: string,
): Promise<number> {
  const [count, , , consumers] = (await redis.xpending(stream, group)) as [
    number,
    unknown,
    unknown,
    [string, string][] | null,
  ];
  return consumer === undefined ? count : Number(consumers?.find(([name]) => name === consumer)?.[1] ?? 0);
}

/** A dead letter as it lies in Redis, its meta fields and those of the original apart, in their order. */
export interface StoredDeadLetter {
  id: string;
  meta: Record<string, string>;
  original: string[];
}

/** The dead letters in a stream, the oldest first. */
export async function deadLettersIn(redis: Redis, stream: string): Promise<StoredDeadLetter[]> {
  return (await redis.xrange(stream, '-', '+')).map(([id, fields]) => {
    let end = 0;
    const meta: [string, string][] = [];
    for (; fields[end]?.startsWith('dead-'); end += 2) {
      meta.push([fields[end]!, fields[end + 1]!]);
    }
    return { id, meta: Object.fromEntries(meta), original: fields.slice(end) };
  });
}

/** An entry that a group has not acknowledged, as XPENDING tells. */
export interface PendingRow {
  id: string;
  consumer: string;
  /** Milliseconds. */
  idle: number;
  deliveries: number;
}

/** What a group has not acknowledged of a stream, whoever has it. */
export async function pendingRows(redis: Redis, stream: string, group: string): Promise<PendingRow[]> {
  const rows = (await redis.xpending(stream, group, '-', '+', 100_000)) as [string, string, number, number][];
  return rows.map(([id, consumer, idle, deliveries]) => ({ id, consumer, idle, deliveries }));
}
