import { PublishRefusedError, RedisStreamsError, RequestTimeoutError } from '../errors.js';
import type { OutgoingEntry } from '../protocol/entry.js';
import type { EntryRange } from '../redis/replies.js';
import type { LeftRequest } from './cancellations.js';
import type { OutgoingMessage } from './outbox.js';
import { PendingRequest, type ReplyHandling, type ReplyPacket } from './pending-request.js';
import type { StreamLimits } from './room-maker.js';

/** The settings of one client that its messages carry along. */
export interface SendSettings extends StreamLimits {
  /** Milliseconds. */
  readonly timeout: number;
  readonly maxQueued: number;
}

/** What a request needs of whoever sends it. */
export interface RequestHost {
  /** Whether an inbox may take one more entry. */
  admit(stream: string, pattern: undefined, limits: StreamLimits, now: number): Promise<void> | undefined;
  /** The request needs nothing any more. */
  ended(request: OutgoingRequest): void;
  /** The request ended before its last reply came, though it may be in Redis; and again when it is known whether it is. */
  left(request: OutgoingRequest): void;
}

/** Everything about a request. */
export interface RequestParts {
  /** Without its id and its reply address, which are the session's to give. */
  entry: OutgoingEntry;
  service: string;
  settings: SendSettings;
  handling: ReplyHandling;
  /** See `RedisStreamsRecordBuilder.setRestartable()`. */
  restartable: boolean;
  callback: (packet: ReplyPacket) => void;
  /** Who may end it along with all others of its own. */
  owner: object;
}

/** A request: the message on its way out, and what waits for the reply. One object, since there is one for each call. */
export class OutgoingRequest extends PendingRequest implements OutgoingMessage, LeftRequest {
  readonly entry: OutgoingEntry;
  readonly deadline: number;
  readonly owner: object;
  readonly settings: SendSettings;
  readonly service: string;
  waits = false;
  withdrawn = false;
  written = false;
  range: EntryRange | undefined;
  isOutcomeKnown = false;
  private isLeft = false;
  private readonly timer: NodeJS.Timeout;

  constructor(
    id: string,
    /** Which of its session's requests it is. */
    readonly number: number,
    /** The inbox of the service that is asked. */
    readonly stream: string,
    parts: RequestParts,
    private readonly host: RequestHost,
  ) {
    super(id, parts.entry.pattern, parts.handling, parts.callback, parts.restartable);
    this.entry = parts.entry;
    this.service = parts.service;
    this.owner = parts.owner;
    this.settings = parts.settings;
    this.deadline = performance.now() + parts.settings.timeout;
    this.timer = setTimeout(onTimeout, parts.settings.timeout, this);
  }

  prepare(now: number): Promise<void> | undefined {
    return this.host.admit(this.stream, undefined, this.settings, now);
  }

  stored(range: EntryRange): void {
    this.range = range;
    this.settleOutcome();
  }

  refused(error: Error): void {
    this.written = false;
    this.settleOutcome();
    this.fail(asRefusal(this.pattern, error));
  }

  /** It may have arrived: its reply or its timeout will tell. */
  unanswered(): void {
    this.settleOutcome();
  }

  unwritten(): void {
    this.settleOutcome();
  }

  /** No reply in time. */
  timeOut(): void {
    this.fail(
      new RequestTimeoutError(
        this.pattern,
        this.service,
        this.settings.timeout,
        this.written,
        this.valuesReceived,
      ),
    );
  }

  protected onEnd(isAnswered: boolean): void {
    clearTimeout(this.timer);
    this.host.ended(this);
    if (!isAnswered && this.written) {
      this.isLeft = true;
      this.host.left(this);
    }
  }

  private settleOutcome(): void {
    this.isOutcomeKnown = true;
    if (this.isLeft) {
      this.host.left(this);
    }
  }
}

/** What the caller gets when a message was not let through: an error of ours as it is, one of Redis explained. */
export function asRefusal(pattern: string, error: Error): Error {
  return error instanceof RedisStreamsError ? error : new PublishRefusedError(pattern, { cause: error });
}

function onTimeout(request: OutgoingRequest): void {
  request.timeOut();
}
