/** Encoded data, ready for Redis. A string is written as UTF-8; JSON stays one, since ioredis writes strings cheaper. */
export type Payload = string | Uint8Array;

/** Marks `undefined` in every codec: no value encodes to zero bytes otherwise. */
export const EMPTY_PAYLOAD = '';

/** The number of bytes of a payload on the wire. */
export function payloadBytes(payload: Payload): number {
  return typeof payload === 'string' ? Buffer.byteLength(payload) : payload.byteLength;
}

/** Whether a payload is larger than `limit` bytes, without measuring strings that cannot be. */
export function exceeds(payload: Payload, limit: number): boolean {
  // A UTF-16 code unit takes at most three bytes in UTF-8.
  if (typeof payload === 'string' && payload.length * 3 <= limit) {
    return false;
  }
  return payloadBytes(payload) > limit;
}

/** What a Redis command takes: ioredis wants a Buffer, not any Uint8Array. */
export function toArgument(payload: Payload): string | Buffer {
  if (typeof payload === 'string' || Buffer.isBuffer(payload)) {
    return payload;
  }
  return Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
}
