/** Collects what is made within one turn of the event loop, and hands it on when the turn ends. */
export class Turn<T> {
  private items: T[] = [];

  constructor(private readonly take: (items: readonly T[]) => void) {}

  add(item: T): void {
    if (this.items.push(item) === 1) {
      setImmediate(this.flush);
    }
  }

  private readonly flush = (): void => {
    const { items } = this;
    this.items = [];
    this.take(items);
  };
}
