import type { Codec } from './codec.js';

/**
 * JSON, the default. Carries what JSON carries: a Date arrives as a string, `NaN` as `null`, a Buffer as
 * `{ type, data }`; a BigInt or a circular object is a `SerializationError`.
 *
 * Objects that would change a prototype when merged carelessly (`__proto__`, `constructor.prototype`) are refused.
 */
export class JsonCodec implements Codec {
  readonly name = 'json';

  encode(value: unknown): string {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined) {
      throw new TypeError(`JSON has no ${typeof value}`);
    }
    return text;
  }

  decode(bytes: Buffer): unknown {
    const text = bytes.toString();
    return isSuspect(text) ? JSON.parse(text, refusePrototypeKeys) : JSON.parse(text);
  }
}

/** The codec of entries without a `codec` field, and of headers and errors. Every reader knows it. */
export const JSON_CODEC: Codec = new JsonCodec();

/** A cheap look that nearly every text passes; only what fails it pays for the reviver. Escapes could spell either word. */
function isSuspect(text: string): boolean {
  return text.includes('__proto__') || text.includes('"constructor"') || text.includes('\\u');
}

function refusePrototypeKeys(key: string, value: unknown): unknown {
  if (key === '__proto__') {
    throw new SyntaxError("an object has the key '__proto__'");
  }
  if (
    key === 'constructor' &&
    typeof value === 'object' &&
    value !== null &&
    Object.hasOwn(value, 'prototype')
  ) {
    throw new SyntaxError("an object has the key 'constructor.prototype'");
  }
  return value;
}
