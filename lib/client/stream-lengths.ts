import { StreamFullError } from '../errors.js';
import type { CommandConnection } from '../redis/command-connection.js';
import type { RoomMaker, StreamLimits } from './room-maker.js';

/** How old a known length, and what came of making room, may be before it is looked at again. */
const SAMPLE_EVERY_MS = 1_000;

/** Patterns come from the application and may be many; what is forgotten is only looked at again. */
const MAX_STREAMS = 10_000;

interface Sample {
  length: number;
  at: number;
  looking: Promise<void> | undefined;
  attempt: Attempt | undefined;
}

/** To make room. While it is under way, and as long as a sample counts after that, there is no other. */
interface Attempt {
  readonly limits: StreamLimits;
  readonly outcome: Promise<boolean>;
  /** `undefined` while it is under way. */
  hasRoom: boolean | undefined;
  at: number;
}

/**
 * Keeps publishers from filling a stream past its bound: an active publisher looks at a stream's length about once a
 * second, and from `maxLength` on room is made where that is allowed, or publishing fails until the stream has
 * drained. So a stream may grow past the bound by what is published in a second.
 */
export class StreamLengths {
  private readonly samples = new Map<string, Sample>();

  constructor(
    private readonly commands: CommandConnection,
    private readonly rooms: RoomMaker,
  ) {}

  /**
   * Asks whether one more entry may be published.
   * @param pattern of a topic; `undefined` for an inbox
   * @param now `performance.now()`
   * @returns `undefined`: yes; a promise: ask again once it has resolved, or rejected with a `StreamFullError`
   */
  admit(
    stream: string,
    pattern: string | undefined,
    limits: StreamLimits,
    now: number,
  ): Promise<void> | undefined {
    let sample = this.samples.get(stream);
    if (!sample) {
      if (this.samples.size >= MAX_STREAMS) {
        this.samples.clear();
      }
      sample = { length: 0, at: Number.NEGATIVE_INFINITY, looking: undefined, attempt: undefined };
      this.samples.set(stream, sample);
    }
    if (now - sample.at >= SAMPLE_EVERY_MS && !sample.looking && this.commands.isReady) {
      this.look(stream, sample);
    }
    const { attempt } = sample;
    if (sample.length < limits.maxLength || (attempt?.hasRoom && isOf(attempt, limits, now))) {
      return undefined;
    }
    return this.decide(stream, pattern, limits, sample);
  }

  /** Takes a length that came along with something else. */
  learn(stream: string, length: number): void {
    const sample = this.samples.get(stream);
    if (sample) {
      sample.length = length;
      sample.at = performance.now();
    }
  }

  private async decide(
    stream: string,
    pattern: string | undefined,
    limits: StreamLimits,
    sample: Sample,
  ): Promise<void> {
    await sample.looking;
    if (sample.length < limits.maxLength) {
      return;
    }
    if (!sample.attempt || !isOf(sample.attempt, limits, performance.now())) {
      sample.attempt = this.tryToMakeRoom(stream, pattern, limits);
    }
    if (!(await sample.attempt.outcome)) {
      throw new StreamFullError(stream, sample.length, limits.maxLength);
    }
  }

  private tryToMakeRoom(stream: string, pattern: string | undefined, limits: StreamLimits): Attempt {
    const outcome = this.rooms.make(stream, pattern, limits);
    const attempt: Attempt = { limits, outcome, hasRoom: undefined, at: Number.POSITIVE_INFINITY };
    const finish = (hasRoom: boolean | undefined, at: number): void => {
      attempt.hasRoom = hasRoom;
      attempt.at = at;
    };
    outcome.then(
      (hasRoom) => finish(hasRoom, performance.now()),
      // The connection was lost; whoever waits is put back and asks again.
      () => finish(undefined, Number.NEGATIVE_INFINITY),
    );
    return attempt;
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

/** Whether an attempt still counts, and for a publisher with these limits. */
function isOf(attempt: Attempt, limits: StreamLimits, now: number): boolean {
  return (
    now - attempt.at < SAMPLE_EVERY_MS &&
    attempt.limits.maxLength <= limits.maxLength &&
    attempt.limits.whenFull === limits.whenFull
  );
}
