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

/** What a service has said of one of its event patterns. */
export interface Subscription {
  service: string;
  pattern: string;
  /** When an instance last said so, in milliseconds by Redis' clock; 0 where that cannot be read. */
  lastSeen: number;
  /** For how long after that it counts, in milliseconds; `undefined` where it was not said. */
  forgetAfter: number | undefined;
  /** The field's value as it is. */
  value: string;
}

/** The answer of HGETALL for the subscriptions. A service's name holds no space, a pattern may; `version` has none. */
export function parseSubscriptions(reply: Readonly<Record<string, string>>): Subscription[] {
  const subscriptions: Subscription[] = [];
  for (const [field, value] of Object.entries(reply)) {
    const space = field.indexOf(' ');
    if (space > 0) {
      const [lastSeen = '', forgetAfter = ''] = value.split(' ');
      subscriptions.push({
        service: field.slice(0, space),
        pattern: field.slice(space + 1),
        lastSeen: millisecondsIn(lastSeen) ?? 0,
        forgetAfter: millisecondsIn(forgetAfter),
        value,
      });
    }
  }
  return subscriptions;
}

function millisecondsIn(text: string): number | undefined {
  return /^\d{1,16}$/.test(text) ? Number(text) : undefined;
}

/** How a consumer group was made. */
export interface MadeGroup {
  /** The id after which it starts; `0-0` is the beginning. */
  from: string;
  /** Whether it was there before: how far it was had been recorded. */
  hadFloor: boolean;
}

/** The answer of the script that makes a consumer group. */
export function parseMadeGroup(reply: unknown): MadeGroup {
  const [from, hadFloor] = reply as [string, number];
  return { from, hadFloor: hadFloor === 1 };
}
