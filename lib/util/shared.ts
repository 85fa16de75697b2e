import { ConnectionClosedError } from '../errors.js';

/** One user's claim to something shared. */
export interface Usage {
  /** Resolves when all is ready. Rejects, and releases, when the start fails or the usage is released before. */
  ready: Promise<void>;
  /** Ends the usage, also while it is not ready yet. May be called more than once. */
  release(): void;
}

/**
 * Something that several users need: it starts with the first and stops with the last. A start that failed is
 * forgotten, and the next user tries again.
 */
export abstract class Shared {
  private users = 0;
  private starting: Promise<void> | undefined;

  use(): Usage {
    this.users++;
    const starting = (this.starting ??= this.begin());
    let isReleased = false;
    const release = (): void => {
      if (!isReleased) {
        isReleased = true;
        this.leave();
      }
    };
    const ready = starting.then(
      () => {
        if (isReleased) {
          throw new ConnectionClosedError('It was closed while it was being opened.');
        }
      },
      (error: unknown) => {
        if (this.starting === starting) {
          this.starting = undefined;
        }
        release();
        throw error;
      },
    );
    return { ready, release };
  }

  protected abstract start(): Promise<void>;
  /** Called while it starts, too, and must make a start under way fail or come to nothing. */
  protected abstract stop(): void;

  private async begin(): Promise<void> {
    await this.start();
    if (this.users === 0) {
      // Everybody left while it started: what was stopped then may have been started since.
      this.stop();
    }
  }

  private leave(): void {
    if (--this.users === 0) {
      this.starting = undefined;
      this.stop();
    }
  }
}
