import { randomBytes } from 'node:crypto';

/** What an id on the wire may look like. A reply id becomes part of a key, so nothing else may pass. */
const WIRE_ID = /^[\w-]{1,64}$/;

/** Whether `value` may be used as a request id, a client id or a run on the wire. */
export function isWireId(value: string): boolean {
  return WIRE_ID.test(value);
}

/** A random id of `bytes` random bytes, made of characters that are allowed on the wire. */
export function randomId(bytes = 9): string {
  return randomBytes(bytes).toString('base64url');
}

/** Ids that are unique everywhere: a random prefix that is, and a counter behind it. Cheaper than randomness for each. */
export class IdSequence {
  private count = 0;

  constructor(private readonly prefix: string) {}

  next(): string {
    return `${this.prefix}-${(this.count++).toString(36)}`;
  }
}
