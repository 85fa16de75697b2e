/** Ids differ at their ends: a counter, a time. */
const HASHED_CHARS = 6;

const INITIAL_CAPACITY = 64;

/**
 * A map by id, for what comes and goes with every message. V8's own Map copies itself into a new table every so many
 * deletions, and the old table, with all it held at that time, lives as long as the collector's next full run: the
 * requests of a busy client then survive their answers, and moving them about took a quarter of its time (--trace-gc).
 *
 * Open addressing with linear probing. It grows when it is a quarter full and never shrinks.
 */
export class IdMap<Value> {
  private keys = new Array<string | undefined>(INITIAL_CAPACITY).fill(undefined);
  private slots = new Array<Value | undefined>(INITIAL_CAPACITY).fill(undefined);
  private mask = INITIAL_CAPACITY - 1;
  /** Leaves as many bits of a hash as there are in a place. */
  private shift = 32 - Math.log2(INITIAL_CAPACITY);
  private count = 0;

  get size(): number {
    return this.count;
  }

  get(id: string): Value | undefined {
    return this.slots[this.placeOf(id)];
  }

  has(id: string): boolean {
    return this.keys[this.placeOf(id)] !== undefined;
  }

  /** @returns false, and changes nothing, where the id is there already */
  add(id: string, value: Value): boolean {
    const place = this.placeOf(id);
    if (this.keys[place] !== undefined) {
      return false;
    }
    this.keys[place] = id;
    this.slots[place] = value;
    if (++this.count * 4 > this.mask) {
      this.grow();
    }
    return true;
  }

  delete(id: string): void {
    let gap = this.placeOf(id);
    if (this.keys[gap] === undefined) {
      return;
    }
    this.count--;
    // Whatever lies behind the gap, and would be looked for from before it, is moved into it.
    for (let place = (gap + 1) & this.mask; ; place = (place + 1) & this.mask) {
      const key = this.keys[place];
      if (key === undefined) {
        break;
      }
      if (((place - this.hash(key)) & this.mask) >= ((place - gap) & this.mask)) {
        this.keys[gap] = key;
        this.slots[gap] = this.slots[place];
        gap = place;
      }
    }
    this.keys[gap] = undefined;
    this.slots[gap] = undefined;
  }

  /** The values that are there now, in no order. */
  values(): Value[] {
    return this.slots.filter((value) => value !== undefined);
  }

  /** Where the id is, or where it would go. */
  private placeOf(id: string): number {
    let place = this.hash(id);
    for (let key = this.keys[place]; key !== undefined && key !== id; key = this.keys[place]) {
      place = (place + 1) & this.mask;
    }
    return place;
  }

  private hash(id: string): number {
    let hash = 0;
    for (let i = Math.max(0, id.length - HASHED_CHARS); i < id.length; i++) {
      hash = Math.imul(hash, 31) + id.charCodeAt(i);
    }
    // Ids that follow each other must not lie beside each other: every deletion would go through all of them.
    return Math.imul(hash, 0x9e3779b1) >>> this.shift;
  }

  private grow(): void {
    const { keys, slots } = this;
    const capacity = keys.length * 2;
    this.keys = new Array<string | undefined>(capacity).fill(undefined);
    this.slots = new Array<Value | undefined>(capacity).fill(undefined);
    this.mask = capacity - 1;
    this.shift--;
    keys.forEach((key, i) => {
      if (key !== undefined) {
        const place = this.placeOf(key);
        this.keys[place] = key;
        this.slots[place] = slots[i];
      }
    });
  }
}
