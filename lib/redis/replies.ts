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
  return (reply as [Buffer, RawEntry[]][]).map(([stream, entries]) => ({
    stream: stream.toString(),
    entries: parseEntries(entries),
  }));
}

type RawEntry = [id: Buffer, fields: Buffer[] | null];

/**
 * The answer of XRANGE (Buffer form). Empties it: under load V8 was seen to keep the arrays of an answer until its next
 * full collection, and with them 1 KB of each request, which cost a server 1.5 us of it (--trace-gc).
 */
export function parseEntries(reply: unknown): StreamEntry[] {
  const raw = reply as RawEntry[];
  const entries = raw.map((entry) => {
    const [id, fields] = entry;
    (entry as unknown[]).length = 0;
    return { id: id.toString('latin1'), fields: fields ?? undefined };
  });
  raw.length = 0;
  return entries;
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

/** A range of slots of a cluster, and the nodes that hold it, the master first. */
export interface SlotRange {
  first: number;
  last: number;
  nodes: { host: string; port: number }[];
}

/**
 * The answer of CLUSTER SLOTS.
 * @param asked the host that was asked: a node that does not know its own name leaves it empty (since 7.0: nil)
 */
export function parseSlots(reply: unknown, asked: string): SlotRange[] {
  return (reply as [number, number, ...[string | null, number][]][]).map(([first, last, ...nodes]) => ({
    first,
    last,
    nodes: nodes.map(([host, port]) => ({ host: host === null || host === '' ? asked : host, port })),
  }));
}

/** The answer of TIME, in milliseconds. */
export function parseTime(reply: readonly (string | number)[]): number {
  return Number(reply[0]) * 1000 + Number(reply[1]) / 1000;
}

/** The milliseconds in an entry's id: when Redis stored it, by Redis' clock. `NaN` for what is no id. */
export function entryTime(id: string): number {
  let time = 0;
  // Digit by digit: parseInt() takes ten times as long, for every request. It is right about more digits, too.
  for (let i = 0; i < MAX_EXACT_DIGITS; i++) {
    const digit = id.charCodeAt(i) - ZERO;
    if (!(digit >= 0 && digit <= 9)) {
      return i > 0 ? time : Number.NaN;
    }
    time = time * 10 + digit;
  }
  return Number.parseInt(id, 10);
}

const ZERO = '0'.charCodeAt(0);
const MAX_EXACT_DIGITS = 15;

/** The largest number that Redis takes for either half of an entry's id. */
const MAX_ID_PART = 2n ** 64n - 1n;

/** The id right after `id`, for "everything up to and including `id`". */
export function nextEntryId(id: string): string {
  const [time = '0', seq = '0'] = id.split('-');
  return BigInt(seq) < MAX_ID_PART ? `${time}-${BigInt(seq) + 1n}` : `${BigInt(time) + 1n}-0`;
}

/** Whether one entry id comes before another. */
export function isEarlier(id: string, other: string): boolean {
  if (id.length === other.length && id.indexOf('-') === other.indexOf('-')) {
    return id < other;
  }
  const time = entryTime(id);
  const otherTime = entryTime(other);
  // Rounding keeps the order of times, but makes some past 2^53 the same: ids that were given by hand may be as large.
  return time === otherTime ? isEarlierExactly(id, other) : time < otherTime;
}

function isEarlierExactly(id: string, other: string): boolean {
  const [time = 0n, seq = 0n] = id.split('-').map(BigInt);
  const [otherTime = 0n, otherSeq = 0n] = other.split('-').map(BigInt);
  return time === otherTime ? seq < otherSeq : time < otherTime;
}

/** The ids in the answer of XPENDING with a range. */
export function parsePendingIds(reply: unknown): string[] {
  return Array.isArray(reply) ? (reply as [string, ...unknown[]][]).map(([id]) => id) : [];
}

/** The id up to which a group has delivered, from the answer of XINFO GROUPS; `undefined` where there is no such group. */
export function lastDelivered(reply: unknown, group: string): string | undefined {
  for (const info of reply as (readonly unknown[])[]) {
    if (info[info.indexOf('name') + 1] === group) {
      return String(info[info.indexOf('last-delivered-id') + 1]);
    }
  }
  return undefined;
}

/** A consumer group of a stream. */
export interface GroupInfo {
  name: string;
  /** How many entries were delivered and are not acknowledged. */
  pending: number;
  /** The id up to which it has delivered. */
  lastDelivered: string;
}

/** The answer of XINFO GROUPS. */
export function parseGroups(reply: unknown): GroupInfo[] {
  return (reply as (readonly unknown[])[]).map((info) => ({
    name: String(info[info.indexOf('name') + 1]),
    pending: Number(info[info.indexOf('pending') + 1]),
    lastDelivered: String(info[info.indexOf('last-delivered-id') + 1]),
  }));
}

/** What became of an entry that was to be moved to the dead letters. */
export type DeadLetterOutcome =
  /** Moved; `id` is the dead letter's, and `dropped` of the oldest dead letters had to go. */
  | { outcome: 'moved'; id: string; dropped: number }
  /** It is not pending, or pending for somebody else: nothing was done. */
  | { outcome: 'not-owned' }
  /** It was pending, but is not in its stream any more: it was acknowledged, and there is nothing to keep. */
  | { outcome: 'missing' };

/** The answer of the script that moves an entry to the dead letters. */
export function parseDeadLetterOutcome(reply: unknown): DeadLetterOutcome {
  const [outcome, id, dropped] = reply as
    ['moved', string, number] | ['not-owned' | 'missing', undefined?, undefined?];
  return outcome === 'moved' ? { outcome, id, dropped } : { outcome };
}

/** What a group knows of an entry that is pending. */
export interface PendingEntry {
  id: string;
  /** Milliseconds since it was last delivered. */
  idle: number;
  /** How often it has been delivered. */
  deliveries: number;
}

/** The answer of XPENDING with a range. */
export function parsePending(reply: unknown): PendingEntry[] {
  return Array.isArray(reply)
    ? (reply as [string, string, number | string, number | string][]).map(([id, , idle, deliveries]) => ({
        id,
        idle: Number(idle),
        deliveries: Number(deliveries),
      }))
    : [];
}

/** What became of a dead letter that was to be replayed. */
export type ReplayOutcome =
  /** Its message is in the inbox, as the entry `entryId`. */
  | { outcome: 'replayed'; entryId: string }
  /** There is no such letter. */
  | { outcome: 'missing' }
  /** Nothing of a message is in it. */
  | { outcome: 'empty' };

/** The answer of the script that replays a dead letter. */
export function parseReplayOutcome(reply: unknown): ReplayOutcome {
  const [outcome, entryId] = reply as ['replayed', string] | ['missing' | 'empty', undefined?];
  return outcome === 'replayed' ? { outcome, entryId } : { outcome };
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
  /** Each instance of it gets the events, by reading them itself: there is no group to wait for. */
  isBroadcast: boolean;
  /** The name of the field. */
  field: string;
  /** When an instance last said so, in milliseconds by Redis' clock; 0 where that cannot be read. */
  lastSeen: number;
  /** For how long after that it counts, in milliseconds; `undefined` where it was not said. */
  forgetAfter: number | undefined;
  /** The field's value as it is. */
  value: string;
}

/**
 * The field of a subscription: the service, a space, the pattern. The service of a broadcast is in braces, which no
 * service's name may hold.
 */
export function subscriptionField(service: string, pattern: string, isBroadcast: boolean): string {
  return `${isBroadcast ? `{${service}}` : service} ${pattern}`;
}

/** The answer of HGETALL for the subscriptions. A service's name holds no space, a pattern may; `version` has none. */
export function parseSubscriptions(reply: Readonly<Record<string, string>>): Subscription[] {
  const subscriptions: Subscription[] = [];
  for (const [field, value] of Object.entries(reply)) {
    const space = field.indexOf(' ');
    if (space > 0) {
      const [lastSeen = '', forgetAfter = ''] = value.split(' ');
      const name = field.slice(0, space);
      const isBroadcast = name.startsWith('{') && name.endsWith('}');
      subscriptions.push({
        service: isBroadcast ? name.slice(1, -1) : name,
        pattern: field.slice(space + 1),
        isBroadcast,
        field,
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

/** The position of a stream: the last id it has given. */
export function lastGenerated(reply: unknown): string {
  const info = reply as readonly unknown[];
  return String(info[info.indexOf('last-generated-id') + 1]);
}

/** The answer of the script that makes a consumer group. */
export function parseMadeGroup(reply: unknown): MadeGroup {
  const [from, hadFloor] = reply as [string, number];
  return { from, hadFloor: hadFloor === 1 };
}
