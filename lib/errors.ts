/**
 * Every error this package throws or hands to an observable. `code` is stable and safe to branch on;
 * `message` names the thing that is wrong and the way out.
 */
export abstract class RedisStreamsError extends Error {
  /** Stable, machine-readable name of the kind of failure. */
  abstract readonly code: string;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An option is missing, unknown or out of range. Thrown by constructors and by `listen()`. */
export class ConfigurationError extends RedisStreamsError {
  readonly code = 'CONFIGURATION';
}

/** Redis could not be reached, or refused us, within `connectTimeout`. The next call tries again. */
export class ConnectError extends RedisStreamsError {
  readonly code = 'CONNECT';

  /** What Redis or ioredis failed with while a connection was set up, as an error of ours. */
  static from(cause: unknown, address: string, reason: string): RedisStreamsError {
    return cause instanceof RedisStreamsError
      ? cause
      : new ConnectError(`The connection to Redis at ${address} could not be set up: ${reason}`, { cause });
  }
}

/** The client or server was closed while the call was under way. */
export class ConnectionClosedError extends RedisStreamsError {
  readonly code = 'CONNECTION_CLOSED';
}

/** The namespace was written by a version, or with settings, that do not fit ours. */
export class LayoutMismatchError extends RedisStreamsError {
  readonly code = 'LAYOUT_MISMATCH';
}

/** A namespace is not changed, since messages would be lost, or somebody uses it. Nothing was done. */
export class LayoutChangeRefusedError extends RedisStreamsError {
  readonly code = 'LAYOUT_CHANGE_REFUSED';

  constructor(
    namespace: string,
    readonly from: number,
    readonly to: number,
    /** All that stands in the way, each in words. */
    readonly obstacles: readonly string[] = [],
  ) {
    const others = obstacles.length - MAX_OBSTACLES;
    super(
      `The namespace '${namespace}' keeps its ${from} shards and does not get ${to}: ` +
        obstacles.slice(0, MAX_OBSTACLES).join('; ') +
        (others > 0 ? `; and ${others} more.` : '.'),
    );
  }
}

/** How many obstacles a message names. */
const MAX_OBSTACLES = 10;

/** No answer within the request's timeout. Whether the handler ran is not known, unless the request was not even sent. */
export class RequestTimeoutError extends RedisStreamsError {
  readonly code = 'REQUEST_TIMEOUT';

  constructor(
    readonly pattern: string,
    readonly service: string,
    /** The timeout that passed, in milliseconds. */
    readonly timeout: number,
    /** Whether the request was written to Redis at all. */
    readonly wasSent: boolean,
    /** How many values had arrived, of a handler that gives several. */
    readonly valuesReceived = 0,
  ) {
    super(
      valuesReceived > 0
        ? `The answer to '${pattern}' from service '${service}' was not complete within ${timeout} ms ` +
            `(${valuesReceived} values had arrived). Give a stream a timeout for all its values: RedisStreamsRecordBuilder.setTimeout().`
        : wasSent
          ? `No reply to '${pattern}' from service '${service}' within ${timeout} ms. ` +
            `Is an instance of '${service}' running, and does it keep up? Raise 'timeout' if the handler needs longer.`
          : `The request '${pattern}' to service '${service}' was not sent: it could not be written to Redis within ${timeout} ms.`,
    );
  }
}

/** The reason of a context's `signal` when the request's deadline has passed: its caller has stopped waiting. */
export class DeadlineExceededError extends RedisStreamsError {
  readonly code = 'DEADLINE_EXCEEDED';

  constructor(readonly pattern: string) {
    super(`The deadline of the request '${pattern}' has passed; its caller has stopped waiting.`);
  }
}

/** An event could not be written within its timeout because Redis was away. It was not published. */
export class PublishTimeoutError extends RedisStreamsError {
  readonly code = 'PUBLISH_TIMEOUT';

  constructor(
    readonly pattern: string,
    /** The timeout that passed, in milliseconds. */
    readonly timeout: number,
  ) {
    super(`The event '${pattern}' was not published: Redis was not reachable for ${timeout} ms.`);
  }
}

/**
 * The connection was lost after an event had been written and before Redis answered: it was stored once, or
 * not at all. It is never sent again on its own, since that could store it twice.
 */
export class OutcomeUnknownError extends RedisStreamsError {
  readonly code = 'OUTCOME_UNKNOWN';

  constructor(
    readonly pattern: string,
    options?: ErrorOptions,
  ) {
    super(
      `The connection to Redis was lost before it confirmed the event '${pattern}': it was stored once or not at all. ` +
        `Publish again only if handling it twice does no harm.`,
      options,
    );
  }
}

/** Redis answered a publish with an error (such as OOM or READONLY). Nothing was stored. */
export class PublishRefusedError extends RedisStreamsError {
  readonly code = 'PUBLISH_REFUSED';

  constructor(
    readonly pattern: string,
    options: { cause: Error },
  ) {
    super(`Redis refused to store '${pattern}': ${options.cause.message}`, options);
  }
}

/** The stream holds `maxLength` entries or more; nothing is cut to make room. */
export class StreamFullError extends RedisStreamsError {
  readonly code = 'STREAM_FULL';

  constructor(
    readonly stream: string,
    readonly length: number,
    readonly maxLength: number,
  ) {
    super(
      `The stream '${stream}' holds ${length} entries and 'maxLength' is ${maxLength}: its consumers have fallen behind, ` +
        `or a subscribed service is down. Publishing works again when it has drained below the limit.`,
    );
  }
}

/** Redis is away and `maxQueued` messages already wait for it. */
export class QueueFullError extends RedisStreamsError {
  readonly code = 'QUEUE_FULL';

  constructor(
    readonly pattern: string,
    readonly maxQueued: number,
  ) {
    super(
      `'${pattern}' was not sent: Redis is not reachable and ${maxQueued} messages already wait for it (option 'maxQueued').`,
    );
  }
}

/** A value that the codec cannot carry, such as a BigInt or a circular object in JSON. */
export class SerializationError extends RedisStreamsError {
  readonly code = 'SERIALIZATION';
}

/** Bytes that the codec cannot read, or a codec this process does not know. */
export class DeserializationError extends RedisStreamsError {
  readonly code = 'DESERIALIZATION';
}

/** An encoded payload larger than `maxPayloadBytes`. Checked before anything is sent. */
export class PayloadTooLargeError extends RedisStreamsError {
  readonly code = 'PAYLOAD_TOO_LARGE';

  constructor(
    readonly pattern: string,
    readonly bytes: number,
    readonly maxPayloadBytes: number,
  ) {
    super(
      `The payload of '${pattern}' has ${bytes} bytes and 'maxPayloadBytes' is ${maxPayloadBytes}. ` +
        `Send a reference to large data instead of the data itself, or raise the limit on both sides.`,
    );
  }
}

/** An entry that lacks what its kind needs, or whose fields break the rules of docs/wire.md. */
export class MalformedEntryError extends RedisStreamsError {
  readonly code = 'MALFORMED_ENTRY';
}

/** A stream of values cannot be continued without losing or repeating some: its handler was started again, or values are missing. */
export class StreamInterruptedError extends RedisStreamsError {
  readonly code = 'STREAM_INTERRUPTED';

  constructor(
    readonly pattern: string,
    reason: string,
  ) {
    super(
      `The stream of values from '${pattern}' was interrupted: ${reason}. Subscribe again to start over.`,
    );
  }
}

/** The reason of a context's `signal` when the caller has unsubscribed. */
export class RequestCancelledError extends RedisStreamsError {
  readonly code = 'REQUEST_CANCELLED';

  constructor(readonly pattern: string) {
    super(`The request '${pattern}' was cancelled: its caller has unsubscribed.`);
  }
}

/** The reason of a context's `signal` when nobody is there any more to be answered: the client's reply stream has expired. */
export class CallerGoneError extends RedisStreamsError {
  readonly code = 'CALLER_GONE';

  constructor(readonly pattern: string) {
    super(`The caller of '${pattern}' is gone: its reply stream does not exist any more.`);
  }
}

/** The reason of a context's `signal` when this instance was away for longer than its lease and another has taken the message over. */
export class LeaseLostError extends RedisStreamsError {
  readonly code = 'LEASE_LOST';

  constructor(readonly pattern: string) {
    super(
      `This instance was away for longer than its 'lease', and '${pattern}' has been taken over by another one: what is done here is not settled.`,
    );
  }
}

/** A stream of values was ended because its caller does not read: `maxReplyBacklog` entries wait in its reply stream. */
export class SlowConsumerError extends RedisStreamsError {
  readonly code = 'SLOW_CONSUMER';

  constructor(
    readonly pattern: string,
    readonly backlog: number,
    readonly maxReplyBacklog: number,
  ) {
    super(
      `The values of '${pattern}' were stopped: ${backlog} entries wait unread in the caller's reply stream, and 'maxReplyBacklog' is ${maxReplyBacklog}.`,
    );
  }
}

/** A message was delivered `retry.maxDeliveries` times, and the process that handled it died each time. */
export class DeliveriesExhaustedError extends RedisStreamsError {
  readonly code = 'DELIVERIES_EXHAUSTED';

  constructor(
    readonly pattern: string,
    readonly deliveries: number,
  ) {
    super(
      `'${pattern}' was delivered ${deliveries} times, and the instance that handled it died each time: it is a dead letter now.`,
    );
  }
}

/** An argument of a call for administration is missing or not what it must be, such as an id that is none. Nothing was done. */
export class InvalidArgumentError extends RedisStreamsError {
  readonly code = 'INVALID_ARGUMENT';
}

/** Redis refused a command of administration, or the connection was lost before it answered; `cause` says which. */
export class CommandFailedError extends RedisStreamsError {
  readonly code = 'COMMAND_FAILED';

  constructor(what: string, reason: string, options?: ErrorOptions) {
    super(`${what}: ${reason}. What had been done before stays done; it may be tried again.`, options);
  }
}
