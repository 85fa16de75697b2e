/** A door that is open or shut. Whoever waits at a shut one goes on when it opens. */
export class Gate {
  private waiting: PromiseWithOpener | undefined;

  constructor(private opened = false) {}

  get isOpen(): boolean {
    return this.opened;
  }

  open(): void {
    this.opened = true;
    this.waiting?.open();
    this.waiting = undefined;
  }

  shut(): void {
    this.opened = false;
  }

  /** Resolves when the gate is next opened; `undefined`, without a promise, where it is open. */
  wait(): Promise<void> | undefined {
    if (this.opened) {
      return undefined;
    }
    this.waiting ??= newWaiting();
    return this.waiting.promise;
  }
}

interface PromiseWithOpener {
  promise: Promise<void>;
  open: () => void;
}

function newWaiting(): PromiseWithOpener {
  let open!: () => void;
  const promise = new Promise<void>((resolve) => (open = resolve));
  return { promise, open };
}
