import { DeserializationError, SerializationError } from '../errors.js';
import { EMPTY_PAYLOAD, type Payload } from './payload.js';

/**
 * Turns values into bytes and back. One codec is chosen for what a client or server sends; a reply is always
 * written in the codec of its request.
 */
export interface Codec {
  /**
   * What the `codec` field of an entry says; `[a-z0-9-]`, at most 32 characters. `json` is the wire's default and is
   * left out there.
   */
  readonly name: string;
  /**
   * Encodes a value other than `undefined` (which the wire writes as zero bytes, whatever the codec). A string is
   * sent as UTF-8. Throws for a value that it cannot carry.
   */
  encode(value: unknown): Payload;
  /** Decodes what `encode` made. Throws for bytes that it cannot read. */
  decode(bytes: Buffer): unknown;
  /** Loads what the codec needs. Awaited once, before the first message, by `connect()` and `listen()`. */
  load?(): Promise<void>;
}

/** Encodes any value, `undefined` included. Throws a `SerializationError` that says what could not be carried. */
export function encodeValue(codec: Codec, value: unknown, what: string): Payload {
  if (value === undefined) {
    return EMPTY_PAYLOAD;
  }
  try {
    const payload: unknown = codec.encode(value);
    if (!(typeof payload === 'string' || payload instanceof Uint8Array) || payload.length === 0) {
      throw new TypeError('encode() must return a string or Uint8Array that is not empty');
    }
    return payload;
  } catch (cause) {
    throw new SerializationError(`${what} cannot be encoded as ${codec.name}: ${reasonOf(cause)}`, { cause });
  }
}

/** Decodes a payload, zero bytes being `undefined`. Throws a `DeserializationError` that says what could not be read. */
export function decodeValue(codec: Codec, bytes: Buffer, what: string): unknown {
  if (bytes.length === 0) {
    return undefined;
  }
  try {
    return codec.decode(bytes);
  } catch (cause) {
    throw new DeserializationError(`${what} cannot be decoded as ${codec.name}: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
