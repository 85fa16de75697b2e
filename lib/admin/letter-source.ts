import { formatDeadLetterId, type DeadLetterId } from '../protocol/dead-letter-id.js';
import { parseDeadLetter } from '../protocol/dead-letter.js';
import { entryTime, isEarlier, parseEntries, type StreamEntry } from '../redis/replies.js';
import type { Shard } from '../redis/shard.js';
import type { StoredDeadLetter } from './dead-letters.interface.js';

/** As few as this are read at first of one of several shards: round trips cost more than letters that are not needed. */
const AT_LEAST = 10;

/** Which dead letters are read. */
export interface LetterRange {
  service: string;
  /** Milliseconds since 1970; `undefined`: from the first on. */
  from: number | undefined;
  /** Milliseconds since 1970; `undefined`: to the last one. */
  to: number | undefined;
  /** The letter before the first that is wanted. */
  after: DeadLetterId | undefined;
}

/** The dead letters of a service in one shard, the oldest first, read as they are needed. */
class LetterSource {
  private entries: StreamEntry[] = [];
  private start: string;
  private isOver = false;
  private wasRead = false;

  constructor(
    private readonly shard: Shard,
    private readonly range: LetterRange,
  ) {
    this.start = startOf(range, shard.index);
  }

  /** Whether it has to be read before it is known which letter is next. */
  get isDue(): boolean {
    return this.entries.length === 0 && !this.isOver;
  }

  /** The next letter. */
  get next(): DeadLetterId | undefined {
    const [entry] = this.entries;
    return entry && { entry: entry.id, shard: this.shard.index };
  }

  /**
   * @param wanted how many letters are needed of all shards
   * @param share how many of them may lie here; once they were not enough, all may
   */
  async read(wanted: number, share: number): Promise<void> {
    const { service, to } = this.range;
    const count = this.wasRead ? wanted : share;
    this.wasRead = true;
    this.entries = await readLetters(this.shard, service, this.start, to?.toString() ?? '+', count);
    this.isOver = this.entries.length < count;
    this.start = `(${this.entries.at(-1)?.id}`;
  }

  take(): StoredDeadLetter {
    return toLetter(this.shard, this.range.service, this.entries.shift()!);
  }
}

/** The dead letters of a service, of all shards together: the oldest first, by their entries' ids and then by shard. */
export class LetterSources {
  private readonly sources: readonly LetterSource[];

  constructor(shards: readonly Shard[], range: LetterRange) {
    this.sources = shards.map((shard) => new LetterSource(shard, range));
  }

  /**
   * The next letter; `undefined` after the last.
   * @param wanted how many more are needed, about
   */
  async next(wanted: number): Promise<StoredDeadLetter | undefined> {
    const due = this.sources.filter(({ isDue }) => isDue);
    if (due.length > 0) {
      const share = Math.max(Math.ceil(wanted / this.sources.length), Math.min(wanted, AT_LEAST));
      await Promise.all(due.map((source) => source.read(wanted, share)));
    }
    let first: LetterSource | undefined;
    for (const source of this.sources) {
      if (source.next && (!first || isBefore(source.next, first.next!))) {
        first = source;
      }
    }
    return first?.take();
  }
}

/** Whether one letter comes before another in a list. */
export function isBefore(one: DeadLetterId, other: DeadLetterId): boolean {
  return one.entry === other.entry ? one.shard < other.shard : isEarlier(one.entry, other.entry);
}

/** Some dead letters of one shard as they lie there. */
export async function readLetters(
  { commands, keys }: Shard,
  service: string,
  start: string,
  end: string,
  count: number,
): Promise<StreamEntry[]> {
  return parseEntries(await commands.client.xrangeBuffer(keys.dead(service), start, end, 'COUNT', count));
}

/** What callers are given of a dead letter. */
export function toLetter(shard: Shard, service: string, { id, fields = [] }: StreamEntry): StoredDeadLetter {
  const letterId = formatDeadLetterId({ entry: id, shard: shard.index }, shard.count);
  const record = parseDeadLetter(letterId, fields);
  const published = entryTime(record.entryId);
  return {
    ...record,
    service,
    diedAt: new Date(entryTime(id)),
    publishedAt: Number.isNaN(published) ? undefined : new Date(published),
  };
}

/** Where a shard's part of a page begins, as XRANGE takes it: after the page before, but not before `from`. */
function startOf({ from, after }: LetterRange, shard: number): string {
  if (after && (from === undefined || entryTime(after.entry) >= from)) {
    // Of the same id in several shards those of the later ones are still to come.
    return shard <= after.shard ? `(${after.entry}` : after.entry;
  }
  return from?.toString() ?? '-';
}
