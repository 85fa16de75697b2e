import { ConfigurationError } from '../errors.js';
import { assertTimeout } from '../options.js';
import { areHeaders, type MessageHeaders } from '../protocol/entry.js';

const RECORD = Symbol.for('nestjs-redis-streams:record');

/** Data with headers and settings of its own, for `send()` and `emit()`. Made by `RedisStreamsRecordBuilder`. */
export class RedisStreamsRecord<T = unknown> {
  static {
    // By which a record is known, also one that the other build of this package (ESM, CommonJS) has made.
    Object.defineProperty(this.prototype, RECORD, { value: true });
  }

  constructor(
    readonly data: T,
    readonly headers: MessageHeaders | undefined,
    /** Milliseconds; overrides the client's `timeout`. */
    readonly timeout: number | undefined,
    /** See `RedisStreamsRecordBuilder.setRestartable()`. */
    readonly restartable = false,
  ) {}
}

/** Whether a payload is a record. */
export function isRecord(value: unknown): value is RedisStreamsRecord {
  return typeof value === 'object' && value !== null && RECORD in value;
}

/**
 * Builds a record: `client.send('sum', new RedisStreamsRecordBuilder([1, 2]).setHeaders({ tenant: 'a' }).build())`.
 */
export class RedisStreamsRecordBuilder<T = unknown> {
  private headers: MessageHeaders | undefined;
  private timeout: number | undefined;
  private restartable = false;

  constructor(private data?: T) {}

  /** What the handler gets as its payload. */
  setData(data: T): this {
    this.data = data;
    return this;
  }

  /**
   * Values beside the data, found in the handler's context. All of them at once; a later call replaces them.
   * Throws a `ConfigurationError` unless it is an object whose values are strings.
   */
  setHeaders(headers: MessageHeaders): this {
    if (!areHeaders(headers)) {
      throw new ConfigurationError("A record's headers must be an object whose values are strings.");
    }
    this.headers = { ...headers };
    return this;
  }

  /** Milliseconds within which this request must be answered, or this event stored. Throws a `ConfigurationError`. */
  setTimeout(timeout: number): this {
    assertTimeout(timeout);
    this.timeout = timeout;
    return this;
  }

  /**
   * Says that the handler of this request gives the same values in the same order whenever it runs. When another
   * instance takes the request over after some values have arrived, the caller gets the rest, without those it has,
   * where it would get a `StreamInterruptedError` otherwise. It still gets one if the second run ends with fewer values
   * than the first had given. Means nothing for an event.
   */
  setRestartable(restartable = true): this {
    this.restartable = restartable;
    return this;
  }

  build(): RedisStreamsRecord<T | undefined> {
    return new RedisStreamsRecord(this.data, this.headers, this.timeout, this.restartable);
  }
}
