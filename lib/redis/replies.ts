/** Redis replies are taken apart here and nowhere else. */

/** One entry of a stream. */
export interface StreamEntry {
  id: string;
  /** Names and values, alternating. `undefined` where the entry has been deleted under its reader. */
  fields: Buffer[] | undefined;
}

/** What one stream gave to a read. */
export interface StreamBatch {
  stream: string;
  entries: StreamEntry[];
}

/** The answer of XREAD and XREADGROUP (Buffer form): nil when nothing came within BLOCK. */
export function parseStreams(reply: unknown): StreamBatch[] {
  if (!Array.isArray(reply)) {
    return [];
  }
  return (reply as [Buffer, [Buffer, Buffer[] | null][]][]).map(([stream, entries]) => ({
    stream: stream.toString(),
    entries: entries.map(([id, fields]) => ({ id: id.toString('latin1'), fields: fields ?? undefined })),
  }));
}

/** Where entries lie in a stream: from the first id to the last, both included. */
export interface EntryRange {
  readonly first: string;
  readonly last: string;
}

/** What came of adding several entries to a stream at once. */
export interface AddedEntries {
  /** The stream's length afterwards; `undefined` where the user may not ask for it. */
  length: number | undefined;
  /** Nothing but these entries lies in it. */
  range: EntryRange;
}

/** The answer of the script that adds many: length or -1, first id, last id. */
export function parseAdded(reply: unknown): AddedEntries {
  const [length, first, last] = reply as [number, string, string];
  return { length: length < 0 ? undefined : length, range: { first, last } };
}

/** What came of making room in a full stream. */
export interface MadeRoom {
  /** Whether there is room now. */
  hasRoom: boolean;
  /** How many entries were cut. */
  cut: number;
  /** Whether anybody may have needed what was cut. */
  isNeeded: boolean;
}

/** The answer of the script that makes room: entries cut, or -1 where none may be; whether the stream is needed. */
export function parseMadeRoom(reply: unknown): MadeRoom {
  const [cut, isNeeded] = reply as [number, number];
  return { hasRoom: cut >= 0, cut: Math.max(cut, 0), isNeeded: isNeeded === 1 };
}

/** The answer of TIME, in milliseconds. */
export function parseTime(reply: readonly (string | number)[]): number {
  return Number(reply[0]) * 1000 + Number(reply[1]) / 1000;
}

/** The milliseconds in an entry's id: when Redis stored it, by Redis' clock. */
export function entryTime(id: string): number {
  return Number.parseInt(id, 10);
}

/** The id right after `id`, for "everything up to and including `id`". */
export function nextEntryId(id: string): string {
  const [time = '0', seq = '0'] = id.split('-');
  return `${time}-${BigInt(seq) + 1n}`;
}

/** Whether one entry id comes before another. */
export function isEarlier(id: string, other: string): boolean {
  const time = entryTime(id);
  const otherTime = entryTime(other);
  return time === otherTime ? sequenceOf(id) < sequenceOf(other) : time < otherTime;
}

function sequenceOf(id: string): bigint {
  return BigInt(id.slice(id.indexOf('-') + 1));
}

/** The ids in the answer of XPENDING with a range. */
export function parsePendingIds(reply: unknown): string[] {
  return Array.isArray(reply) ? (reply as [string, ...unknown[]][]).map(([id]) => id) : [];
}

/** One line of an INFO answer, such as `redis_version`. */
export function infoField(info: string, field: string): string | undefined {
  for (const line of info.split(/\r?\n/)) {
    if (line.startsWith(`${field}:`)) {
      return line.slice(field.length + 1).trim();
    }
  }
  return undefined;
}
