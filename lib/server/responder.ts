import type { Serializer, WritePacket } from '@nestjs/microservices';
import { PayloadTooLargeError, SlowConsumerError } from '../errors.js';
import { encodeValue, type Codec } from '../protocol/codec.js';
import { runId, sequenceFrame, singleFrame, type FrameKind } from '../protocol/frames.js';
import { exceeds, payloadBytes, toArgument, type Payload } from '../protocol/payload.js';
import { encodeError, toWireError } from '../protocol/wire-error.js';
import type { Delivery } from './delivery.js';
import {
  MAX_ENTRY_BYTES,
  type Reply,
  type ReplyOutcome,
  type ReplyOwner,
  type ReplyWriter,
} from './reply-writer.js';
import { isPromise } from '../util/promise.js';

const NONE: Reply[] = [];

/** After so many entries with values it is looked whether the client reads them. */
const LOOK_EVERY_ENTRIES = 100;

/** What all responders of a server share. */
export interface ResponderDeps {
  replies: ReplyWriter;
  /** The user's; `undefined` where none was given. */
  serializer: Serializer | undefined;
  maxPayloadBytes: number;
  /** The random part of the instance's id. */
  instance: string;
  /** Entries that may wait in the client's stream before a stream of values to it is ended. */
  maxReplyBacklog: number;
  /** Told of a reply that could not be encoded, or is too large; the caller gets the error. */
  onUnwritable(pattern: string, error: unknown): void;
}

/** What becomes of a request's replies. */
export interface ResponderListener {
  /** Redis has answered the last reply for the first time, or will never be asked. Called once, before `settled`. */
  answered(): void;
  /** The last reply has ended in this way. Called once. */
  settled(outcome: ReplyOutcome): void;
  /** The caller does not read: the values are to stop, and it is told so. Comes before `settled`. */
  stopped(reason: Error): void;
}

/**
 * Answers one request. It is `open` until its last reply is given, `ending` until Redis has stored that, then
 * `settled`; `revoke()` takes it out of all of these, and nothing is written or settled any more.
 *
 * Several values are numbered, and the next ones wait until Redis has stored those before, so that none overtakes
 * another when one has to be written again.
 */
export class Responder implements ReplyOwner {
  private seq = 0;
  private first: { value: unknown } | undefined;
  /** Most requests have one reply, and never a second list. */
  private unsettled: Reply[] = NONE;
  private isEnding = false;
  private wasAnswered = false;
  private isSettled = false;
  private revoked = false;
  private sinceLook = 0;
  /** Keeps replies in order where a serializer is asynchronous. */
  private tail: Promise<void> | undefined;

  constructor(
    private readonly delivery: Delivery,
    private readonly id: string,
    private readonly client: string,
    private readonly codec: Codec,
    private readonly deps: ResponderDeps,
    private readonly listener: ResponderListener,
  ) {}

  /** Whether nothing more can be given. */
  get hasEnded(): boolean {
    return this.isEnding;
  }

  get isRevoked(): boolean {
    return this.revoked;
  }

  /** The only value, and done. `undefined`: done without one, as Nest's clients see it. */
  value(value: unknown): void {
    this.give('v', value);
  }

  /** One of several values. The first is held until it is known whether it is the only one. */
  next(value: unknown): void {
    if (this.seq === 0 && !this.first && !this.isEnding) {
      this.first = { value };
      process.nextTick(() => this.releaseFirst());
      return;
    }
    this.releaseFirst();
    this.give('n', value);
  }

  /** No more values. */
  complete(): void {
    const { first } = this;
    if (first) {
      this.first = undefined;
      this.value(first.value);
    } else {
      this.give('c', undefined);
    }
  }

  /** An error, and done. Goes to the caller as it is, without a stack. */
  error(error: unknown): void {
    this.releaseFirst();
    this.give('e', toWireError(error));
  }

  /** Ends without a last reply: its caller has stopped waiting. */
  expire(): void {
    this.isEnding = true;
    this.settle('expired');
  }

  /** Takes away the right to reply and to settle. The request stays pending. */
  revoke(): void {
    this.revoked = true;
    this.isEnding = true;
    this.isSettled = true;
    this.answered();
  }

  private releaseFirst(): void {
    const { first } = this;
    if (first) {
      this.first = undefined;
      this.give('n', first.value);
    }
  }

  private give(kind: FrameKind, value: unknown): void {
    if (this.isEnding) {
      return;
    }
    this.isEnding = kind !== 'n';
    if (this.deps.serializer) {
      this.serialize(this.deps.serializer, kind, packetOf(kind, value));
    } else {
      this.write(kind, false, value);
    }
  }

  private serialize(serializer: Serializer, kind: FrameKind, packet: WritePacket): void {
    const make = (): void | Promise<void> => {
      try {
        const serialized: unknown = serializer.serialize({ ...packet, id: this.id });
        if (isPromise(serialized)) {
          return serialized.then(
            (value: unknown) => this.write(kind, true, value),
            (error: unknown) => this.fail(error),
          );
        }
        this.write(kind, true, serialized);
      } catch (error) {
        this.fail(error);
      }
    };
    if (this.tail) {
      this.tail = this.tail.then(make);
    } else {
      this.tail = make() ?? undefined;
    }
  }

  private write(kind: FrameKind, isPacket: boolean, value: unknown): void {
    let payload: Payload;
    try {
      payload = kind === 'e' ? this.encodeFailure(value) : this.encode(value);
    } catch (error) {
      this.fail(error);
      return;
    }
    this.append(this.fieldOf(kind, isPacket), payload, kind !== 'n');
  }

  private encode(value: unknown): Payload {
    const { pattern } = this.delivery.entry;
    const payload = encodeValue(this.codec, value, `The reply to '${pattern}'`);
    if (exceeds(payload, this.deps.maxPayloadBytes)) {
      throw new PayloadTooLargeError(pattern, payloadBytes(payload), this.deps.maxPayloadBytes);
    }
    return payload;
  }

  private encodeFailure(error: unknown): Payload {
    const payload = encodeError(error);
    const { maxPayloadBytes } = this.deps;
    return exceeds(payload, maxPayloadBytes)
      ? encodeError(
          new PayloadTooLargeError(this.delivery.entry.pattern, payloadBytes(payload), maxPayloadBytes),
        )
      : payload;
  }

  /** A reply that cannot be written is an error to the caller, who would wait for ever otherwise. */
  private fail(error: unknown): void {
    this.isEnding = true;
    this.deps.onUnwritable(this.delivery.entry.pattern, error);
    this.append(singleFrame('e', this.id, false), this.encodeFailure(error), true);
  }

  private fieldOf(kind: FrameKind, isPacket: boolean): string {
    if (kind === 'v' || kind === 'e') {
      return singleFrame(kind, this.id, isPacket);
    }
    const run = runId(this.delivery.deliveries, this.deps.instance);
    return sequenceFrame(kind, this.id, run, kind === 'n' ? this.seq++ : this.seq, isPacket);
  }

  private append(field: string, payload: Payload, isLast: boolean): void {
    if (this.isSettled) {
      return;
    }
    const bytes = field.length + payload.length;
    const open = this.unsettled[this.unsettled.length - 1];
    if (open && !open.isWritten && open.bytes + bytes <= MAX_ENTRY_BYTES) {
      open.frames.push(field, toArgument(payload));
      open.bytes += bytes;
      open.isLast = isLast;
      return;
    }
    const reply: Reply = {
      client: this.client,
      frames: [field, toArgument(payload)],
      bytes,
      deadline: this.delivery.deadline,
      triedSince: undefined,
      isLast,
      isWritten: false,
      foundNoStream: false,
      owner: this,
    };
    if (this.unsettled.length > 0) {
      this.unsettled.push(reply);
    } else {
      this.unsettled = [reply];
      this.deps.replies.write(reply);
    }
  }

  replyAnswered(reply: Reply): void {
    if (reply.isLast) {
      this.answered();
    }
  }

  replySettled(reply: Reply, outcome: ReplyOutcome): void {
    if (this.isSettled) {
      return;
    }
    if (outcome !== 'stored' || reply.isLast) {
      this.isEnding = true;
      this.unsettled = NONE;
      this.settle(outcome);
      return;
    }
    this.unsettled.shift();
    const next = this.unsettled[0];
    if (next) {
      this.deps.replies.write(next);
    }
    const { maxReplyBacklog } = this.deps;
    if (++this.sinceLook >= Math.min(LOOK_EVERY_ENTRIES, maxReplyBacklog)) {
      this.sinceLook = 0;
      void this.lookAtBacklog(maxReplyBacklog);
    }
  }

  private async lookAtBacklog(limit: number): Promise<void> {
    const backlog = await this.deps.replies.backlog(this.client);
    if (backlog > limit && !this.isEnding) {
      const reason = new SlowConsumerError(this.delivery.entry.pattern, backlog, limit);
      this.error(reason);
      this.listener.stopped(reason);
    }
  }

  private answered(): void {
    if (!this.wasAnswered) {
      this.wasAnswered = true;
      this.listener.answered();
    }
  }

  private settle(outcome: ReplyOutcome): void {
    if (!this.isSettled) {
      this.isSettled = true;
      this.answered();
      this.listener.settled(outcome);
    }
  }
}

/** What a serializer is given, as Nest's servers do. */
function packetOf(kind: FrameKind, value: unknown): WritePacket {
  switch (kind) {
    case 'v':
      return { response: value, isDisposed: true };
    case 'n':
      return { response: value };
    case 'c':
      return { isDisposed: true };
    case 'e':
      return { err: value, isDisposed: true };
  }
}
