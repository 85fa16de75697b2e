import { IdMap } from '../util/id-map.js';

/** What identifies an entry. */
export interface HeldEntry {
  stream: string;
  id: string;
}

/**
 * What this instance has taken and not settled yet: from the read until Redis has confirmed the acknowledgement, or
 * the entry has gone elsewhere. Compared with what Redis counts as its own, this tells what never arrived, and what
 * another has taken over.
 */
export class Holdings<Entry extends HeldEntry> {
  private readonly streams = new Map<string, IdMap<Entry>>();

  /** @returns false where it is held already: an entry may be delivered again after its group was made again */
  add(entry: Entry): boolean {
    let entries = this.streams.get(entry.stream);
    if (!entries) {
      entries = new IdMap();
      this.streams.set(entry.stream, entries);
    }
    return entries.add(entry.id, entry);
  }

  release({ stream, id }: HeldEntry): void {
    this.streams.get(stream)?.delete(id);
  }

  has(stream: string, id: string): boolean {
    return this.streams.get(stream)?.has(id) ?? false;
  }

  /** What is held of a stream now. */
  of(stream: string): Entry[] {
    return this.streams.get(stream)?.values() ?? [];
  }

  /** A stream is read no more. What is still held of it stays. */
  forget(stream: string): void {
    if (this.of(stream).length === 0) {
      this.streams.delete(stream);
    }
  }

  /** The streams of which something is or was held. */
  get streamKeys(): string[] {
    return [...this.streams.keys()];
  }
}
