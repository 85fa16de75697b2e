import { StreamFullError } from '../errors.js';
import type { CommandConnection } from '../redis/command-connection.js';

/** How old a known length may be before it is looked at again. */
const SAMPLE_EVERY_MS = 1_000;

/** Patterns come from the application and may be many; what is forgotten is only looked at again. */
const MAX_STREAMS = 10_000;

interface Sample {
  length: number;
  at: number;
  looking: Promise<void> | undefined;
}

/**
 * Keeps publishers from filling a stream past its bound: an active publisher looks at a stream's length about once a
 * second, and publishing fails from `maxLength` on until it has drained. So a stream may grow past the bound by what
 * is published in a second; nothing is ever cut.
 */
export class StreamLengths {
  private readonly samples = new Map<string, Sample>();

  constructor(private readonly commands: CommandConnection) {}

  /**
   * Asks whether one more entry may be published.
   * @param now `performance.now()`
   * @returns `undefined`: yes; a promise: once it has resolved, or rejected with a `StreamFullError`
   */
  admit(stream: string, maxLength: number, now: number): Promise<void> | undefined {
    let sample = this.samples.get(stream);
    if (!sample) {
      if (this.samples.size >= MAX_STREAMS) {
        this.samples.clear();
      }
      sample = { length: 0, at: Number.NEGATIVE_INFINITY, looking: undefined };
      this.samples.set(stream, sample);
    }
    if (now - sample.at >= SAMPLE_EVERY_MS && !sample.looking && this.commands.isReady) {
      this.look(stream, sample);
    }
    if (sample.length < maxLength) {
      return undefined;
    }
    return this.decide(stream, sample, maxLength);
  }

  /** Takes a length that came along with something else. */
  learn(stream: string, length: number): void {
    const sample = this.samples.get(stream);
    if (sample) {
      sample.length = length;
      sample.at = performance.now();
    }
  }

  private async decide(stream: string, sample: Sample, maxLength: number): Promise<void> {
    await sample.looking;
    if (sample.length >= maxLength) {
      throw new StreamFullError(stream, sample.length, maxLength);
    }
  }

  private look(stream: string, sample: Sample): void {
    sample.looking = this.commands.client.xlen(stream).then(
      (length) => {
        sample.length = length;
        sample.at = performance.now();
        sample.looking = undefined;
      },
      () => {
        // Away or not allowed: the old length stands, and publishing itself will say what is wrong.
        sample.at = performance.now();
        sample.looking = undefined;
      },
    );
  }
}
