import { PublishRefusedError, RedisStreamsError, RequestTimeoutError } from '../errors.js';
import type { OutgoingEntry } from '../protocol/entry.js';
import type { OutgoingMessage } from './outbox.js';
import { PendingRequest, type ReplyHandling, type ReplyPacket } from './pending-request.js';

/** The settings of one client that its messages carry along. */
export interface SendSettings {
  /** Milliseconds. */
  readonly timeout: number;
  readonly maxQueued: number;
  readonly maxLength: number;
}

/** What a request needs of the session it belongs to. */
export interface RequestHost {
  /** Whether the stream may take one more entry. */
  admit(stream: string, maxLength: number, now: number): Promise<void> | undefined;
  /** The request needs nothing any more. */
  ended(request: OutgoingRequest): void;
}

/** Everything about a request. */
export interface RequestParts {
  /** Without its id and its reply address, which are the session's to give. */
  entry: OutgoingEntry;
  /** The inbox of the service that is asked. */
  stream: string;
  service: string;
  settings: SendSettings;
  handling: ReplyHandling;
  callback: (packet: ReplyPacket) => void;
  /** Who may end it along with all others of its own. */
  owner: object;
}

/** A request: the message on its way out, and what waits for the reply. One object, since there is one for each call. */
export class OutgoingRequest extends PendingRequest implements OutgoingMessage {
  readonly entry: OutgoingEntry;
  readonly stream: string;
  readonly deadline: number;
  readonly owner: object;
  readonly settings: SendSettings;
  withdrawn = false;
  written = false;
  private readonly service: string;
  private readonly timer: NodeJS.Timeout;

  constructor(
    id: string,
    parts: RequestParts,
    private readonly host: RequestHost,
  ) {
    super(id, parts.entry.pattern, parts.handling, parts.callback);
    this.entry = parts.entry;
    this.stream = parts.stream;
    this.service = parts.service;
    this.owner = parts.owner;
    this.settings = parts.settings;
    this.deadline = performance.now() + parts.settings.timeout;
    this.timer = setTimeout(onTimeout, parts.settings.timeout, this);
  }

  prepare(now: number): Promise<void> | undefined {
    return this.host.admit(this.stream, this.settings.maxLength, now);
  }

  stored(): void {
    // Its reply will tell.
  }

  refused(error: Error): void {
    this.fail(asRefusal(this.pattern, error));
  }

  unanswered(): void {
    // It may have arrived: its reply or its timeout will tell.
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

  protected onEnd(): void {
    clearTimeout(this.timer);
    this.host.ended(this);
  }
}

/** What the caller gets when a message was not let through: an error of ours as it is, one of Redis explained. */
export function asRefusal(pattern: string, error: Error): Error {
  return error instanceof RedisStreamsError ? error : new PublishRefusedError(pattern, { cause: error });
}

function onTimeout(request: OutgoingRequest): void {
  request.timeOut();
}
