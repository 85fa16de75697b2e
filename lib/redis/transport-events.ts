import type { EventEmitter } from 'node:events';
import type { ConnectionEvents } from './command-connection.js';

/** What `on()` of a client or server can listen to: its command connection. */
export type RedisStreamsEvents = {
  /** Connected, for the first time or again. */
  ready: () => void;
  /** The connection was lost and is being made again. */
  reconnecting: () => void;
  /** The connection was closed on purpose. */
  close: () => void;
};

/** What `status` of a client or server emits. */
export type RedisStreamsStatus = 'connected' | 'reconnecting' | 'disconnected';

const EVENT_NAMES = { ready: 'ready', reconnecting: 'lost', close: 'closed' } as const satisfies Record<
  keyof RedisStreamsEvents,
  keyof ConnectionEvents
>;

/** Tells a client's or server's listeners, and Nest's status, of what happens to the command connection. */
export class TransportEvents {
  private isFollowing = false;

  constructor(
    private readonly commands: EventEmitter<ConnectionEvents>,
    private readonly status: { next(status: RedisStreamsStatus): void },
  ) {}

  /** Works before the connection is opened, and after. */
  on(event: keyof RedisStreamsEvents, callback: () => void): void {
    this.commands.on(EVENT_NAMES[event], callback);
  }

  /** From here on the status follows the connection, which others may share and have opened before. */
  follow(): void {
    this.status.next('connected');
    if (this.isFollowing) {
      return;
    }
    this.isFollowing = true;
    this.commands.on('ready', this.onReady).on('lost', this.onLost);
  }

  /** The client or server has been closed, whatever others do with the connection. */
  unfollow(): void {
    if (!this.isFollowing) {
      return;
    }
    this.isFollowing = false;
    this.commands.off('ready', this.onReady).off('lost', this.onLost);
    this.status.next('disconnected');
  }

  private readonly onReady = (): void => this.status.next('connected');
  private readonly onLost = (): void => this.status.next('reconnecting');
}
