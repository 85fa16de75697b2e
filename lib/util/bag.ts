/** Something that remembers its place in a bag. It may be in one at a time. */
export interface Bagged {
  place: number;
}

/**
 * What is under way, in no order, to be gone through now and then. For what comes and goes with every message: adding
 * and removing make nothing, while a Set keeps what was removed alive (see IdMap).
 */
export class Bag<Item extends Bagged> implements Iterable<Item> {
  private readonly items: Item[] = [];

  add(item: Item): void {
    item.place = this.items.push(item) - 1;
  }

  /** Removes an item that is in the bag. */
  remove(item: Item): void {
    const last = this.items.pop()!;
    if (last !== item) {
      this.items[item.place] = last;
      last.place = item.place;
    }
  }

  /** Goes through the items that are there now: what is done with them may remove them. */
  [Symbol.iterator](): Iterator<Item> {
    return [...this.items][Symbol.iterator]();
  }
}
