import type { CommandConnection } from './command-connection.js';
import { parseTime } from './replies.js';

/**
 * Redis' clock, as far as this process knows it: entry ids and deadlines are by that clock, so that no two machines'
 * clocks are ever compared. Between looks it runs on by this process' monotonic clock.
 */
export class RedisClock {
  private offset = Date.now() - performance.now();

  /** Milliseconds since 1970 by Redis' clock. */
  now(): number {
    return this.at(performance.now());
  }

  /** The same for a moment of `performance.now()`. */
  at(moment: number): number {
    return moment + this.offset;
  }

  /** Looks at Redis' clock (TIME). Half of the round trip is taken to lie before the look. */
  async synchronize(connection: CommandConnection): Promise<void> {
    const before = performance.now();
    const time = parseTime(await connection.client.time());
    const after = performance.now();
    this.offset = time - (before + after) / 2;
  }
}
