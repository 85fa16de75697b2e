import { lastValueFrom } from 'rxjs';
import { RedisStreamsError, type RedisStreamsClient } from '../../../lib/index.js';
import { pause } from '../../../lib/util/time.js';

export const PATTERN = 'placed';

/** So many events are under way at once, each this long after the one before: 2,000 a second. */
const PARALLEL = 16;
const EVERY_MS = 8;

/** How long a publisher that asks for it waits for a replica. */
const WAIT_MS = 500;

/** An event that its publisher takes for stored. */
export interface Confirmed {
  name: string;
  /** `performance.now()` when it was confirmed. */
  at: number;
}

/** Publishes events until it is stopped, and keeps the account. */
export class Publisher {
  readonly confirmed: Confirmed[] = [];
  /** How the others ended -> how many. */
  readonly failures = new Map<string, number>();
  private readonly loops: Promise<void>[];
  private isStopped = false;
  private n = 0;

  /** @param waits whether an event counts as confirmed only once a replica has it, by WAIT */
  constructor(
    private readonly client: RedisStreamsClient,
    private readonly waits: boolean,
  ) {
    this.loops = Array.from({ length: PARALLEL }, (_, i) => this.publish((i / PARALLEL) * EVERY_MS));
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    await Promise.all(this.loops);
  }

  private async publish(after: number): Promise<void> {
    await pause(after);
    while (!this.isStopped) {
      const begun = performance.now();
      const name = `event ${this.n++}`;
      const failure = await this.attempt(name);
      if (failure === undefined) {
        this.confirmed.push({ name, at: performance.now() });
      } else {
        this.failures.set(failure, (this.failures.get(failure) ?? 0) + 1);
      }
      await pause(Math.max(0, begun + EVERY_MS - performance.now()));
    }
  }

  private async attempt(name: string): Promise<string | undefined> {
    try {
      await lastValueFrom(this.client.emit(PATTERN, name), { defaultValue: undefined });
      if (!this.waits || (await this.client.unwrap().wait(1, WAIT_MS)) > 0) {
        return undefined;
      }
      return 'no replica in time';
    } catch (error) {
      return error instanceof RedisStreamsError ? error.code : 'WAIT unanswered';
    }
  }
}
