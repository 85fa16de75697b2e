/** How many cancellations are kept in mind; what is older has been handled or has expired. */
const MAX_KEPT = 10_000;

/**
 * The requests that were cancelled while they were on their way, as far as this instance has heard: looked at before a
 * handler is started.
 */
export class Cancellations {
  private readonly ids = new Set<string>();

  add(requestId: string): void {
    this.ids.add(requestId);
    if (this.ids.size > MAX_KEPT) {
      const [oldest] = this.ids;
      this.ids.delete(oldest!);
    }
  }

  /** Nearly always there are none: nothing is hashed then. */
  has(requestId: string): boolean {
    return this.ids.size > 0 && this.ids.has(requestId);
  }
}
