import { Gate } from '../util/gate.js';

/** Bounds how many messages an instance handles at once. Who takes a slot gives it back, once, however its work ends. */
export class Slots {
  private taken = 0;
  private readonly room = new Gate(true);
  private readonly rest = new Gate(true);

  constructor(private readonly limit: number) {}

  get free(): number {
    return this.limit - this.taken;
  }

  get isIdle(): boolean {
    return this.taken === 0;
  }

  take(): void {
    this.taken++;
    this.rest.shut();
    if (this.taken >= this.limit) {
      this.room.shut();
    }
  }

  release(): void {
    this.taken--;
    if (this.taken < this.limit) {
      this.room.open();
    }
    if (this.taken === 0) {
      this.rest.open();
    }
  }

  /** Resolves when a slot is free; `undefined` where one is. */
  whenFree(): Promise<void> | undefined {
    return this.room.wait();
  }

  /** Resolves when all slots are free. */
  async whenIdle(): Promise<void> {
    await this.rest.wait();
  }
}
