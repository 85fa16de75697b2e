import type { Redis } from 'ioredis';
import { entriesOf } from './counting.js';
import { eventually } from './wait.js';

const SERVICE = 'echo';
const RANDOM = 'byhand12';

export const INBOX = `{nest:0}:inbox:${SERVICE}`;
export const CONTROL = `{nest:0}:control:${SERVICE}`;
export const CANCELLED = '{nest:0}:cancelled';

/** A request that was taken from the inbox. */
export interface TakenRequest {
  entryId: string;
  id: string;
  pattern: string;
  reply: string;
}

/** A frame: the pattern of its request, its kind, number and payload, and the delivery it belongs to. */
export type HandFrame = [pattern: string, kind: string, seq: number, payload: string, delivery?: number];

/** The service `echo`, played command by command: for what a client does while a server is at a certain point. */
export class HandServer {
  private constructor(private readonly redis: Redis) {}

  static async start(redis: Redis): Promise<HandServer> {
    await redis.xgroup('CREATE', INBOX, SERVICE, '0', 'MKSTREAM');
    return new HandServer(redis);
  }

  /** Waits until so many entries lie in the inbox. */
  async waiting(count: number): Promise<void> {
    await eventually(async () => (await this.redis.xlen(INBOX)) === count, `${count} requests in Redis`);
  }

  /** Takes so many requests, as an instance does. They stay pending. */
  async take(count: number): Promise<TakenRequest[]> {
    const taken: TakenRequest[] = [];
    await eventually(async () => {
      const left = count - taken.length;
      const answer = await this.redis.xreadgroup(
        'GROUP',
        SERVICE,
        'by-hand',
        'COUNT',
        left,
        'STREAMS',
        INBOX,
        '>',
      );
      for (const [, entries] of (answer ?? []) as [string, [string, string[]][]][]) {
        taken.push(...entries.map(([entryId, fields]) => requestOf(entryId, fields)));
      }
      return taken.length === count;
    }, `${count} requests to be delivered`);
    return taken;
  }

  /** Writes frames in one entry to the client that sent these requests. */
  async reply(requests: readonly TakenRequest[], ...frames: HandFrame[]): Promise<void> {
    const fields = frames.flatMap(([pattern, kind, seq, payload, delivery = 1]) => {
      const { id } = requests.find((request) => request.pattern === pattern)!;
      const isNumbered = kind === 'n' || kind === 'c';
      return [isNumbered ? `${kind}${id}:${delivery}-${RANDOM}:${seq}` : kind + id, payload];
    });
    await this.redis.xadd(`nest:replies:${requests[0]!.reply}`, 'NOMKSTREAM', '*', ...fields);
  }

  /** The ids of which the service was told that they are cancelled. */
  async cancellations(): Promise<string[]> {
    return (await entriesOf(this.redis, CONTROL)).map(({ cancel = '' }) => cancel);
  }
}

function requestOf(entryId: string, fields: string[]): TakenRequest {
  const field = (name: string): string => fields[fields.indexOf(name) + 1]!;
  return { entryId, id: field('id'), pattern: field('pattern'), reply: field('reply') };
}
