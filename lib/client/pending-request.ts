import type { Deserializer } from '@nestjs/microservices';
import { StreamInterruptedError } from '../errors.js';
import { decodeValue, type Codec } from '../protocol/codec.js';
import { deliveriesOf, type Frame } from '../protocol/frames.js';
import { JSON_CODEC } from '../protocol/json.codec.js';
import { messageOf } from '../redis/redis-errors.js';
import { isPromise } from '../util/promise.js';

/** What is given to a request's callback: Nest's `WritePacket`, with types. */
export interface ReplyPacket {
  err?: unknown;
  response?: unknown;
  isDisposed?: boolean;
}

/** How a reply becomes what Nest's `ClientProxy` wants. */
export interface ReplyHandling {
  codec: Codec;
  /** The user's; `undefined` where none was given. */
  deserializer: Deserializer | undefined;
  /** Nest's default, for replies that another side's serializer made. */
  packetDeserializer: Deserializer;
}

const NOTHING = Buffer.alloc(0);

/** The end of a run all of whose values have been given. */
const ALL_SEEN = { kind: 'c', run: '', seq: 0, packet: false } as const;

/**
 * A request that waits for its reply: `waiting` until the first frame, `streaming` while values come, `ended` after
 * the first frame that ends it, its timeout, or its caller's leaving. Frames that come later are dropped, as are
 * frames seen before and those of an execution (a run) that another has superseded.
 *
 * A second run begins anew, so after values it ends the request with an error. One of a restartable request gives the
 * same values again: those that were seen are passed over. It must not give fewer.
 */
export abstract class PendingRequest {
  private run: string | undefined;
  private nextSeq = 0;
  private ended = false;
  /** The frame that ends it has come. */
  private answered = false;
  /** Keeps replies in order where a deserializer is asynchronous. */
  private tail: Promise<void> | undefined;

  constructor(
    readonly id: string,
    readonly pattern: string,
    private readonly handling: ReplyHandling,
    private readonly callback: (packet: ReplyPacket) => void,
    private readonly restartable: boolean,
  ) {}

  /**
   * Called once, when nothing more will be given to the callback.
   * @param isAnswered whether the last reply has come: the other side has done with the request, too
   */
  protected abstract onEnd(isAnswered: boolean): void;

  /** How many of several values have arrived. */
  get valuesReceived(): number {
    return this.nextSeq;
  }

  /** Takes the payload of a `v` frame that is no packet, as nearly every one is: nothing is made for it. */
  receiveOnly(payload: Buffer): void {
    if (this.ended) {
      return;
    }
    if (this.nextSeq > 0) {
      this.receiveWhole(payload);
      return;
    }
    this.answered = true;
    if (this.handling.deserializer || this.tail) {
      this.give(() => this.packetOf({ kind: 'v', id: this.id, run: '', seq: 0, packet: false }, payload));
      return;
    }
    let packet: ReplyPacket;
    try {
      packet = { err: undefined, response: this.decode(this.handling.codec, payload), isDisposed: true };
    } catch (error) {
      packet = { err: asError(error), response: undefined, isDisposed: true };
    }
    this.deliver(packet);
  }

  /** Takes a frame with its payload. */
  receive(frame: Frame, payload: Buffer): void {
    if (this.ended) {
      return;
    }
    if (frame.kind === 'v' && !frame.packet) {
      this.receiveOnly(payload);
      return;
    }
    const problem = frame.kind === 'n' || frame.kind === 'c' ? this.follow(frame) : undefined;
    if (problem === 'drop') {
      return;
    }
    this.answered ||= frame.kind !== 'n';
    this.give(problem ? () => ({ err: problem, isDisposed: true }) : () => this.packetOf(frame, payload));
  }

  /** Ends the request with an error. */
  fail(error: Error): void {
    this.deliver({ err: error, isDisposed: true });
  }

  /** Ends the request without telling its caller, who has left. */
  abandon(): void {
    this.end();
  }

  /**
   * A single value after others: whoever gave those does not say that there is only one, so it comes from another run,
   * whose first and last value it is.
   */
  private receiveWhole(payload: Buffer): void {
    this.answered = true;
    const problem = this.restartable
      ? this.checkCount(payload.length === 0 ? 0 : 1)
      : this.interrupted('its handler was started again by another instance');
    this.give(() =>
      problem ? { err: problem, isDisposed: true } : this.packetOf({ ...ALL_SEEN, id: this.id }, NOTHING),
    );
  }

  /** Checks a frame against the run and number that are due. */
  private follow(frame: Frame): StreamInterruptedError | 'drop' | undefined {
    if (this.run === undefined) {
      this.run = frame.run;
    } else if (frame.run !== this.run) {
      if (deliveriesOf(frame.run) < deliveriesOf(this.run)) {
        return 'drop';
      }
      if (this.nextSeq > 0 && !this.restartable) {
        return this.interrupted('its handler was started again by another instance');
      }
      this.run = frame.run;
    }
    if (frame.kind === 'c') {
      return this.checkCount(frame.seq);
    }
    if (frame.seq < this.nextSeq) {
      return 'drop';
    }
    if (frame.seq > this.nextSeq) {
      return this.interrupted('values are missing');
    }
    this.nextSeq++;
    return undefined;
  }

  /** Checks how many values there were, by the run that has ended, against those that were given. */
  private checkCount(count: number): StreamInterruptedError | undefined {
    if (count > this.nextSeq) {
      return this.interrupted('values are missing');
    }
    return count < this.nextSeq
      ? this.interrupted('its handler was started again and gave fewer values than before')
      : undefined;
  }

  private interrupted(reason: string): StreamInterruptedError {
    return new StreamInterruptedError(this.pattern, reason);
  }

  private packetOf(frame: Frame, payload: Buffer): ReplyPacket | Promise<ReplyPacket> {
    const codec = frame.kind === 'e' ? JSON_CODEC : this.handling.codec;
    const value = this.decode(codec, payload);
    const done = frame.kind !== 'n';
    if (frame.packet) {
      const deserializer = this.handling.deserializer ?? this.handling.packetDeserializer;
      return withEnd(deserializer.deserialize(value) as ReplyPacket | Promise<ReplyPacket>, done);
    }
    const packet = plainPacket(frame.kind, value, done);
    return this.handling.deserializer
      ? withEnd(this.handling.deserializer.deserialize({ id: this.id, ...packet }) as ReplyPacket, done)
      : packet;
  }

  private decode(codec: Codec, payload: Buffer): unknown {
    return decodeValue(codec, payload, `The reply to '${this.pattern}'`);
  }

  private give(make: () => ReplyPacket | Promise<ReplyPacket>): void {
    if (this.tail) {
      this.tail = this.tail.then(() => this.attempt(make));
      return;
    }
    const waiting = this.attempt(make);
    if (waiting) {
      this.tail = waiting;
    }
  }

  private attempt(make: () => ReplyPacket | Promise<ReplyPacket>): Promise<void> | undefined {
    try {
      const packet = make();
      if (isPromise(packet)) {
        return packet
          .then((resolved) => this.deliver(resolved))
          .catch((error: unknown) => this.deliver({ err: asError(error), isDisposed: true }));
      }
      this.deliver(packet);
    } catch (error) {
      this.deliver({ err: asError(error), isDisposed: true });
    }
    return undefined;
  }

  private deliver(packet: ReplyPacket): void {
    if (this.ended) {
      return;
    }
    const { err, response, isDisposed } = packet;
    if (err || isDisposed) {
      this.end();
      this.tell({ err, response, isDisposed: true });
    } else {
      this.tell({ err, response });
    }
  }

  /** An application's own `serializeResponse()` may throw; its caller must not wait for ever. */
  private tell(packet: ReplyPacket): void {
    try {
      this.callback(packet);
    } catch (error) {
      this.end();
      this.callback({ err: error, isDisposed: true });
    }
  }

  private end(): void {
    if (!this.ended) {
      this.ended = true;
      this.onEnd(this.answered);
    }
  }
}

function plainPacket(kind: Frame['kind'], value: unknown, done: boolean): ReplyPacket {
  switch (kind) {
    case 'e':
      // Falsy errors are not errors to Nest's ClientProxy; a reader in another language may have sent one.
      return { err: value ? value : { status: 'error', message: String(value) }, isDisposed: true };
    case 'c':
      return { isDisposed: true };
    default:
      return done ? { response: value, isDisposed: true } : { response: value };
  }
}

/** The frame says whether a request is done, whatever a serializer kept of the packet. */
function withEnd(
  packet: ReplyPacket | Promise<ReplyPacket>,
  done: boolean,
): ReplyPacket | Promise<ReplyPacket> {
  if (isPromise(packet)) {
    return packet.then((resolved) => withEnd(resolved, done));
  }
  return done && !packet.isDisposed ? { ...packet, isDisposed: true } : packet;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(messageOf(error));
}
