import { InvalidArgumentError } from '../errors.js';
import { SERVER_RULES } from '../options.js';
import { parseDeadLetterId, type DeadLetterId } from '../protocol/dead-letter-id.js';

/** What callers of the administration give is often typed by a person: it is looked at before Redis is asked. */

const ENTRY_ID = /^\d{1,20}-\d{1,20}$/;
const MAX_ID_PART = 2n ** 64n - 1n;
/** The largest time that a `Date` can hold. */
const MAX_TIME = 8.64e15;

/**
 * The parts of a dead letter's id: `<milliseconds>-<number>`, and in a namespace of several shards behind that
 * `@<shard>`. Throws an `InvalidArgumentError` for anything else.
 */
export function checkLetterId(value: unknown, what: string, shards: number): DeadLetterId {
  const id = typeof value === 'string' ? parseDeadLetterId(value, shards) : undefined;
  if (!id || !ENTRY_ID.test(id.entry) || id.entry.split('-').some(isTooLarge) || id.shard >= shards) {
    const [where, example] =
      shards === 1 ? ['', '1763750000000-0'] : [` in a namespace of ${shards} shards`, '1763750000000-0@1'];
    throw new InvalidArgumentError(
      `${what} must be the id of a dead letter${where}, such as '${example}', not ${show(value)}.`,
    );
  }
  return id;
}

/** One id or a list of them, each once. Throws an `InvalidArgumentError` that names the first that is none. */
export function checkLetterIds(value: unknown, shards: number): Map<string, DeadLetterId> {
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  return new Map(
    ids.map((id, i) => [id as string, checkLetterId(id, Array.isArray(value) ? `ids[${i}]` : 'id', shards)]),
  );
}

/** The service that a call names, or the one it belongs to. Throws an `InvalidArgumentError` where there is neither. */
export function checkService(given: unknown, own: string | undefined): string {
  const service = given ?? own;
  if (service === undefined) {
    throw new InvalidArgumentError(
      "Whose dead letters? Give { service }, or the option 'service' to the module or to RedisStreamsDeadLetters.",
    );
  }
  const fault = SERVER_RULES.service.fault(service);
  if (fault !== undefined) {
    throw new InvalidArgumentError(`'service' ${fault}.`);
  }
  return service as string;
}

/** Milliseconds since 1970 of a `Date` or a number. Throws an `InvalidArgumentError` for anything else. */
export function checkTime(value: unknown, what: string): number | undefined {
  if (value === undefined) {
    return undefined;
  }
  const time: unknown = value instanceof Date ? value.getTime() : value;
  if (typeof time !== 'number' || !(time >= 0 && time <= MAX_TIME)) {
    throw new InvalidArgumentError(
      `'${what}' must be a Date or milliseconds since 1970, not ${value instanceof Date ? 'an invalid or earlier Date' : show(value)}.`,
    );
  }
  return Math.floor(time);
}

/** A number of letters. Throws an `InvalidArgumentError` for anything else. */
export function checkLimit(value: unknown, max: number, fallback: number): number {
  if (value === undefined) {
    return fallback;
  }
  if (!(Number.isInteger(value) && (value as number) >= 1 && (value as number) <= max)) {
    throw new InvalidArgumentError(`'limit' must be a whole number from 1 to ${max}, not ${show(value)}.`);
  }
  return value as number;
}

/** A pattern, as a route. Throws an `InvalidArgumentError` for anything but text. */
export function checkPattern(value: unknown): string | undefined {
  if (value !== undefined && typeof value !== 'string') {
    throw new InvalidArgumentError(
      `'pattern' must be text, an object pattern in the form that a letter's own 'pattern' has, not ${show(value)}.`,
    );
  }
  return value;
}

function isTooLarge(digits: string): boolean {
  return BigInt(digits) > MAX_ID_PART;
}

function show(value: unknown): string {
  if (typeof value === 'string') {
    return `'${value.slice(0, 100)}'`;
  }
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
