/**
 * Something several users open and close, each once: it starts with the first and stops with the last. After a failed
 * start nobody is counted in, and the next `open()` tries again.
 */
export abstract class Shared {
  private users = 0;
  private starting: Promise<void> | undefined;

  /** Counts a user in, and resolves when all is ready for it. */
  async open(): Promise<void> {
    this.users++;
    this.starting ??= this.begin();
    try {
      await this.starting;
    } catch (error) {
      this.leave();
      throw error;
    }
  }

  /** Counts a user out. Must be called once for each `open()` that resolved. */
  close(): void {
    this.leave();
  }

  protected abstract start(): Promise<void>;
  /** Must bear being called after a start that failed half-way, and twice. */
  protected abstract stop(): void;

  private async begin(): Promise<void> {
    try {
      await this.start();
    } catch (error) {
      this.starting = undefined;
      throw error;
    }
    if (this.users === 0) {
      // Everybody left while it started: what was stopped then has been started since.
      this.stop();
    }
  }

  private leave(): void {
    if (this.users > 0 && --this.users === 0) {
      this.starting = undefined;
      this.stop();
    }
  }
}
