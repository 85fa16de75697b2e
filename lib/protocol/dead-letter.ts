import { MalformedEntryError } from '../errors.js';
import { parseHeaders, type MessageHeaders } from './entry.js';
import { isWireId } from './ids.js';

/** Why a message became a dead letter. */
export type DeadLetterReason =
  /** Its handler failed at its last delivery. */
  | 'failed'
  /** Its last delivery ended with the death of the instance that ran it, alone. */
  | 'exhausted'
  /** Its handler said so. */
  | 'rejected'
  /** The entry breaks the rules of docs/wire.md. */
  | 'malformed'
  /** The service has no handler for its pattern. */
  | 'no-handler';

/** What is noted of a message when it becomes a dead letter. When that was is the time in the dead letter's own id. */
export interface DeadLetterMeta {
  /** The stream in which it lay, and its id there, which says when it was published. */
  stream: string;
  entryId: string;
  reason: DeadLetterReason;
  /** Of what it failed with. */
  errorName: string;
  errorMessage: string;
  /** Only where the service keeps stacks (`deadLetters.stack`). */
  errorStack?: string | undefined;
  /** How often it had been delivered. */
  deliveries: number;
  /** The instance that gave it up. */
  instance: string;
}

/** A dead letter as it was read: what was noted of it, and the message as far as it can be read. */
export interface DeadLetterRecord extends Omit<DeadLetterMeta, 'reason'> {
  /** Its own id, among the service's dead letters. */
  id: string;
  /** `unknown`: written by another version, or by hand. */
  reason: DeadLetterReason | 'unknown';
  /** Whether the message had more fields than can be stored along with the meta fields; the last ones are missing. */
  isCut: boolean;
  /** The pattern, as a route; `undefined` where the message has none. */
  pattern: string | undefined;
  /** The request's id; `undefined` for an event. */
  requestId: string | undefined;
  /** `undefined` where there are none, or where they cannot be read. */
  headers: MessageHeaders | undefined;
  /** The name of the codec in which `data` is encoded. */
  codec: string;
  /** The payload as it was published, still encoded; `undefined` where the message has none. */
  data: Buffer | undefined;
  /** All fields of the message, in their order and unchanged. */
  fields: readonly (readonly [name: string, value: Buffer])[];
}

/** The names of the meta fields all begin so; the original's begin with the first name that does not. */
export const META_PREFIX = 'dead-';

/** What a replayed message goes without: nobody waits for its reply any more, and so it has no deadline. */
export const NOT_REPLAYED = ['reply', 'ttl'] as const;

/** Errors may carry whole documents; a dead letter is to be read by a person. In UTF-16 code units. */
const MAX_TEXT = 4_096;
const MAX_STACK = 16_384;

const REASONS: ReadonlySet<string> = new Set<DeadLetterReason>([
  'failed',
  'exhausted',
  'rejected',
  'malformed',
  'no-handler',
]);

/** The meta fields of a dead letter, flat, as XADD takes them. The original's fields follow them. */
export function encodeDeadLetterMeta(meta: DeadLetterMeta): string[] {
  const fields = [
    ...['dead-stream', meta.stream],
    ...['dead-id', meta.entryId],
    ...['dead-reason', meta.reason],
    ...['dead-name', cut(meta.errorName, MAX_TEXT)],
    ...['dead-message', cut(meta.errorMessage, MAX_TEXT)],
  ];
  if (meta.errorStack !== undefined) {
    fields.push('dead-stack', cut(meta.errorStack, MAX_STACK));
  }
  fields.push('dead-deliveries', String(meta.deliveries), 'dead-instance', meta.instance);
  return fields;
}

/** What is kept of anything that may be thrown; the stack only where `withStack`. Never throws. */
export function describeFailure(
  error: unknown,
  withStack: boolean,
): Pick<DeadLetterMeta, 'errorName' | 'errorMessage' | 'errorStack'> {
  if (typeof error !== 'object' || error === null) {
    return { errorName: typeof error, errorMessage: String(error) };
  }
  try {
    // By shape: what Nest makes of an error is a plain object with a message.
    const { name, message, stack } = error as { name?: unknown; message?: unknown; stack?: unknown };
    return {
      errorName: typeof name === 'string' ? name : 'Error',
      errorMessage: typeof message === 'string' ? message : (JSON.stringify(error) ?? ''),
      ...(withStack && typeof stack === 'string' ? { errorStack: stack } : {}),
    };
  } catch {
    // A getter or toJSON() that throws, or a circle: whatever is wrong with the error, its message is lost, not its letter.
    return { errorName: 'Error', errorMessage: 'An error that cannot be described.' };
  }
}

/**
 * Reads a dead letter apart. Never throws: the message in it may be the very one that could not be read, and it must
 * still be seen.
 */
export function parseDeadLetter(id: string, fields: readonly Buffer[]): DeadLetterRecord {
  const pairs = pairsOf(fields);
  const first = pairs.findIndex(([name]) => !name.startsWith(META_PREFIX));
  const meta = textsOf(first === -1 ? pairs : pairs.slice(0, first));
  const original = first === -1 ? [] : pairs.slice(first);
  return {
    id,
    stream: meta.get('dead-stream') ?? '',
    entryId: meta.get('dead-id') ?? '',
    reason: toReason(meta.get('dead-reason')),
    errorName: meta.get('dead-name') ?? '',
    errorMessage: meta.get('dead-message') ?? '',
    errorStack: meta.get('dead-stack'),
    deliveries: Number(meta.get('dead-deliveries')) || 0,
    instance: meta.get('dead-instance') ?? '',
    isCut: meta.get('dead-cut') === '1',
    ...readMessage(original),
    fields: original,
  };
}

function readMessage(
  fields: DeadLetterRecord['fields'],
): Pick<DeadLetterRecord, 'pattern' | 'requestId' | 'headers' | 'codec' | 'data'> {
  // The last of two of the same name, as in `decodeEntry`.
  const byName = new Map(fields);
  const id = byName.get('id')?.toString();
  return {
    pattern: byName.get('pattern')?.toString(),
    requestId: id !== undefined && isWireId(id) ? id : undefined,
    headers: readHeaders(byName.get('headers')),
    codec: byName.get('codec')?.toString() ?? 'json',
    data: byName.get('data'),
  };
}

function readHeaders(value: Buffer | undefined): MessageHeaders | undefined {
  try {
    return value && parseHeaders(value.toString());
  } catch (error) {
    if (error instanceof MalformedEntryError) {
      return undefined;
    }
    throw error;
  }
}

function pairsOf(fields: readonly Buffer[]): [string, Buffer][] {
  const pairs: [string, Buffer][] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    pairs.push([fields[i]!.toString(), fields[i + 1]!]);
  }
  return pairs;
}

/** The first of two of the same name: an original that begins with such names of its own does not replace ours. */
function textsOf(pairs: readonly [string, Buffer][]): Map<string, string> {
  return new Map([...pairs].reverse().map(([name, value]) => [name, value.toString()]));
}

function toReason(text: string | undefined): DeadLetterRecord['reason'] {
  return text !== undefined && REASONS.has(text) ? (text as DeadLetterReason) : 'unknown';
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}… (${text.length} characters)`;
}
