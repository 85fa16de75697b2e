import { MalformedEntryError } from '../errors.js';
import { isWireId } from './ids.js';
import { toArgument, type Payload } from './payload.js';

/** Values that travel beside the data: a trace id, a tenant, a locale. */
export type MessageHeaders = Readonly<Record<string, string>>;

/** What a publisher writes: one stream field for each part, so that an entry can be routed without decoding its data. */
export interface OutgoingEntry {
  pattern: string;
  data: Payload;
  /** Requests only: the request's id, and the client to which the reply goes. */
  id?: string | undefined;
  reply?: string | undefined;
  /** Milliseconds that were left when the entry was written. */
  ttl?: number | undefined;
  headers?: MessageHeaders | undefined;
  /** The codec's name; absent for JSON. */
  codec?: string | undefined;
  /** `data` is a whole packet, as a Nest serializer made it, not just the packet's data. */
  packet?: boolean;
}

/** An entry as it was read, checked. `data` is still encoded. */
export interface IncomingEntry {
  pattern: string;
  data: Buffer;
  /** The request's id; `undefined` for an event. */
  id: string | undefined;
  /** The client that waits for the reply. A request without one was replayed: nobody waits for its answer. */
  reply: string | undefined;
  ttl: number | undefined;
  headers: MessageHeaders | undefined;
  codec: string;
  packet: boolean;
}

const NO_DATA = Buffer.alloc(0);
const MAX_TTL_DIGITS = 15;
const ZERO = '0'.charCodeAt(0);
const NINE = '9'.charCodeAt(0);

/** The fields and values of an entry, flat, as XADD takes them. */
export function encodeEntry(entry: OutgoingEntry): (string | Buffer)[] {
  const fields: (string | Buffer)[] = ['pattern', entry.pattern, 'data', toArgument(entry.data)];
  if (entry.id !== undefined && entry.reply !== undefined) {
    fields.push('id', entry.id, 'reply', entry.reply);
  }
  if (entry.ttl !== undefined) {
    fields.push('ttl', String(entry.ttl));
  }
  if (entry.headers !== undefined) {
    fields.push('headers', JSON.stringify(entry.headers));
  }
  if (entry.codec !== undefined) {
    fields.push('codec', entry.codec);
  }
  if (entry.packet) {
    fields.push('packet', '1');
  }
  return fields;
}

/**
 * Finds the parts of an entry by their names; unknown fields are passed over. Throws a `MalformedEntryError` that
 * says which part is missing or wrong.
 */
export function decodeEntry(fields: readonly Buffer[]): IncomingEntry {
  let pattern: string | undefined;
  let data: Buffer = NO_DATA;
  let id: string | undefined;
  let reply: string | undefined;
  let ttl: number | undefined;
  let headers: MessageHeaders | undefined;
  let codec = 'json';
  let packet = false;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    // In the order in which our clients write them.
    if (spells(name, 'pattern')) {
      pattern = value.toString();
    } else if (spells(name, 'data')) {
      data = value;
    } else if (spells(name, 'id')) {
      id = value.toString('latin1');
    } else if (spells(name, 'reply')) {
      reply = value.toString('latin1');
    } else if (spells(name, 'ttl')) {
      ttl = parseTtl(value);
    } else if (spells(name, 'headers')) {
      headers = parseHeaders(value.toString());
    } else if (spells(name, 'codec')) {
      codec = value.toString('latin1');
    } else if (spells(name, 'packet')) {
      packet = value.toString('latin1') === '1';
    }
  }
  if (pattern === undefined) {
    throw new MalformedEntryError("The entry has no field 'pattern'.");
  }
  if (reply !== undefined) {
    assertRequest(id, reply);
  } else if (id !== undefined && !isWireId(id)) {
    // A field of a publisher's own, which makes no request of an event.
    id = undefined;
  }
  return { pattern, data, id, reply, ttl, headers, codec, packet };
}

/** Who waits for the answer to a request, as far as a malformed entry says so. */
export function replyAddressOf(fields: readonly Buffer[]): { id: string; reply: string } | undefined {
  let id = '';
  let reply = '';
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (spells(fields[i]!, 'id')) {
      id = fields[i + 1]!.toString('latin1');
    } else if (spells(fields[i]!, 'reply')) {
      reply = fields[i + 1]!.toString('latin1');
    }
  }
  return isWireId(id) && isWireId(reply) ? { id, reply } : undefined;
}

/** Every field of every entry passes here: no string is made to look at a name. */
function spells(name: Buffer, word: string): boolean {
  if (name.length !== word.length) {
    return false;
  }
  for (let i = 0; i < word.length; i++) {
    if (name[i] !== word.charCodeAt(i)) {
      return false;
    }
  }
  return true;
}

function assertRequest(id: string | undefined, reply: string): void {
  if (!isWireId(reply)) {
    throw new MalformedEntryError("The field 'reply' must be a client id: 1 to 64 of A-Z a-z 0-9 _ -.");
  }
  if (id === undefined || !isWireId(id)) {
    throw new MalformedEntryError("A request needs a field 'id': 1 to 64 of A-Z a-z 0-9 _ -.");
  }
}

function parseTtl(text: Buffer): number {
  let ttl = 0;
  for (const char of text) {
    ttl = char >= ZERO && char <= NINE ? ttl * 10 + char - ZERO : Number.NaN;
  }
  if (text.length === 0 || text.length > MAX_TTL_DIGITS || Number.isNaN(ttl)) {
    throw new MalformedEntryError("The field 'ttl' must be a whole number of milliseconds.");
  }
  return ttl;
}

/** Reads the field `headers`. Throws a `MalformedEntryError` that says what is wrong with it. */
export function parseHeaders(text: string): MessageHeaders {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new MalformedEntryError("The field 'headers' is not JSON.", { cause });
  }
  if (!areHeaders(parsed)) {
    throw new MalformedEntryError("The field 'headers' must be a JSON object whose values are strings.");
  }
  return parsed;
}

/** Whether a value may be sent as headers: a plain object of strings. */
export function areHeaders(value: unknown): value is MessageHeaders {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !Object.hasOwn(value, '__proto__') &&
    Object.values(value).every((header) => typeof header === 'string')
  );
}
