import { expect } from '@jest/globals';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { RedisStreamsError, RedisStreamsRecordBuilder, type RedisStreamsClient } from '../../lib/index.js';

/** Milliseconds within which each request of a load must be answered. */
export const LOAD_TIMEOUT = 15_000;

/** How its requests and events may end while a Redis is away. */
export const EXPECTED_OUTCOMES = [
  'request: ok',
  'request: REQUEST_TIMEOUT',
  'event: ok',
  'event: OUTCOME_UNKNOWN',
  'event: PUBLISH_TIMEOUT',
];

/** Sends requests and events until it is stopped, and keeps the account. */
export class Load {
  readonly outcomes = new Map<string, number>();
  readonly stored: { name: string; at: number }[] = [];
  private readonly work = new Set<Promise<unknown>>();
  private readonly timer: NodeJS.Timeout;
  private n = 0;

  constructor(
    private readonly client: RedisStreamsClient,
    private readonly patterns: readonly string[],
  ) {
    this.timer = setInterval(() => this.step(), 5);
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.work);
  }

  private step(): void {
    const n = this.n++;
    const request = new RedisStreamsRecordBuilder(n).setTimeout(LOAD_TIMEOUT).build();
    this.track('request', firstValueFrom(this.client.send<number>('double', request)), (answer) => {
      expect(answer).toBe(n * 2);
    });
    const name = `event ${n}`;
    const emitted = lastValueFrom(this.client.emit(this.patterns[n % this.patterns.length]!, name), {
      defaultValue: undefined,
    });
    this.track('event', emitted, () => this.stored.push({ name, at: performance.now() }));
  }

  private track<T>(kind: string, work: Promise<T>, succeeded: (value: T) => void): void {
    const tracked = work
      .then(
        (value) => {
          succeeded(value);
          return 'ok';
        },
        (error: unknown) => (error instanceof RedisStreamsError ? error.code : String(error)),
      )
      .then((outcome) => {
        const key = `${kind}: ${outcome}`;
        this.outcomes.set(key, (this.outcomes.get(key) ?? 0) + 1);
        this.work.delete(tracked);
      });
    this.work.add(tracked);
  }
}
