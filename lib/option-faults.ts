import type { Codec } from './protocol/codec.js';
import { MAX_TIMER_MS } from './util/time.js';

/** What is wrong with an option's value, as the end of a sentence that begins with its name; `undefined` where nothing is. */
export type Fault = (value: unknown) => string | undefined;

/** What is wrong with an object of settings, the first fault of all. */
export function membersFault(members: Record<string, Fault>): Fault {
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return `must be an object, not ${Array.isArray(value) ? 'a list' : show(value)}`;
    }
    for (const [name, member] of Object.entries(value)) {
      if (!Object.hasOwn(members, name)) {
        return `has no setting '${name}'. Its settings are: ${Object.keys(members).join(', ')}`;
      }
      const fault = member === undefined ? undefined : members[name]!(member);
      if (fault !== undefined) {
        return `: '${name}' ${fault.replace(/^: /, '')}`;
      }
    }
    return undefined;
  };
}

/** What is wrong with the retries of a service or handler. */
export function retryFault(value: unknown): string | undefined {
  return membersFault({
    maxDeliveries: wholeNumber(1, 1_000_000, 'deliveries'),
    backoff: backoffFault,
  })(value);
}

function backoffFault(value: unknown): string | undefined {
  if (typeof value === 'function') {
    return undefined;
  }
  const milliseconds = wholeNumber(1, MAX_TIMER_MS, 'milliseconds');
  const { type, ...rest } = (typeof value === 'object' && value !== null ? value : {}) as { type?: unknown };
  const needed = type === 'exponential' ? ['base', 'max'] : type === 'fixed' ? ['delay'] : undefined;
  if (!needed) {
    return `must be { type: 'exponential', base, max }, { type: 'fixed', delay } or a function, not ${show(value)}`;
  }
  const missing = needed.find((name) => (rest as Record<string, unknown>)[name] === undefined);
  return missing === undefined
    ? membersFault(Object.fromEntries(needed.map((name) => [name, milliseconds])))(rest)
    : `needs '${missing}'`;
}

/** Only whole numbers within bounds. */
export function wholeNumber(min: number, max: number, unit: string): Fault {
  return (value) =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `must be a whole number from ${min} to ${max} ${unit}, not ${show(value)}`;
}

/** Only `true` and `false`. */
export function trueOrFalse(value: unknown): string | undefined {
  return typeof value === 'boolean' ? undefined : `must be true or false, not ${show(value)}`;
}

/** Only one of these. */
export function oneOf(...allowed: string[]): Fault {
  return (value) =>
    allowed.includes(value as string)
      ? undefined
      : `must be one of ${allowed.map((a) => `'${a}'`).join(', ')}, not ${show(value)}`;
}

/** Names become parts of keys; a brace would change the hash tag, and white space the reading of them. */
export function nameFault(value: unknown): string | undefined {
  return typeof value === 'string' && /^[^\s{}]{1,128}$/.test(value)
    ? undefined
    : `must be 1 to 128 characters without white space and braces, not ${show(value)}`;
}

/** What is no connection of any form; the connection factory looks closer. */
export function connectionFault(value: unknown): string | undefined {
  return typeof value === 'string' ||
    typeof value === 'function' ||
    (typeof value === 'object' && value !== null)
    ? undefined
    : `must be a URL, ioredis options, an ioredis instance or a function that makes one, not ${show(value)}`;
}

/** What is no codec, by shape. */
export function codecFault(value: unknown): string | undefined {
  const codec = value as Partial<Codec> | null;
  return typeof codec === 'object' &&
    codec !== null &&
    typeof codec.name === 'string' &&
    /^[a-z0-9-]{1,32}$/.test(codec.name) &&
    typeof codec.encode === 'function' &&
    typeof codec.decode === 'function'
    ? undefined
    : `must be a Codec: { name: [a-z0-9-]{1,32}, encode(value), decode(bytes) }, not ${show(value)}`;
}

/** Only an object that has this method. */
export function hasMethod(method: string): Fault {
  return (value) =>
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Record<string, unknown>)[method] === 'function'
      ? undefined
      : `must be an object with a method ${method}(), not ${show(value)}`;
}

/** A value in a message, cut where it is long. */
export function show(value: unknown): string {
  if (typeof value === 'string') {
    return `'${value.slice(0, 100)}'`;
  }
  if (typeof value === 'function') {
    return 'a function';
  }
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
