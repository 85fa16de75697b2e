import { MalformedEntryError } from '../errors.js';
import { isWireId } from './ids.js';

/**
 * A reply entry holds frames, each a field and a value. The field is a letter and the request's id, and where a
 * request is given several values also the run and the sequence number:
 *
 * - `v<id>` value and done
 * - `n<id>:<run>:<seq>` next value
 * - `e<id>` error and done, always JSON
 * - `c<id>:<run>:<seq>` done, after `seq` values
 *
 * A capital letter says that the payload is a whole packet, as a Nest serializer made it.
 */
export type FrameKind = 'v' | 'n' | 'e' | 'c';

const ONLY_VALUE = 'v'.charCodeAt(0);

/** A frame's field, taken apart. */
export interface Frame {
  kind: FrameKind;
  id: string;
  /** `n` and `c` only. */
  run: string;
  /** `n`: the value's number, from 0. `c`: how many values there were. */
  seq: number;
  packet: boolean;
}

/** The field of a `v` or `e` frame. */
export function singleFrame(kind: 'v' | 'e', id: string, packet: boolean): string {
  return (packet ? kind.toUpperCase() : kind) + id;
}

/** The field of an `n` or `c` frame. */
export function sequenceFrame(
  kind: 'n' | 'c',
  id: string,
  run: string,
  seq: number,
  packet: boolean,
): string {
  return `${packet ? kind.toUpperCase() : kind}${id}:${run}:${seq}`;
}

/** A run is one execution of a request: how often it had been delivered, and the random part of the instance's id. */
export function runId(deliveries: number, instance: string): string {
  return `${deliveries}-${instance}`;
}

/** The delivery count in a run; a higher one supersedes a lower one. */
export function deliveriesOf(run: string): number {
  const count = Number.parseInt(run, 10);
  return Number.isNaN(count) ? 0 : count;
}

/** The id in the field of a `v` frame that is no packet: what nearly every reply is. `undefined` for any other field. */
export function onlyValueId(field: string): string | undefined {
  return field.charCodeAt(0) === ONLY_VALUE ? field.slice(1) : undefined;
}

/** Takes the field of a frame apart. Throws a `MalformedEntryError` for a field that is none. */
export function parseFrame(field: string): Frame {
  const letter = field.charAt(0);
  const kind = letter.toLowerCase();
  const packet = letter !== kind;
  if (kind === 'v' || kind === 'e') {
    return checked({ kind, id: field.slice(1), run: '', seq: 0, packet }, field);
  }
  if (kind === 'n' || kind === 'c') {
    const [id = '', run = '', seq = '', ...rest] = field.slice(1).split(':');
    if (rest.length === 0 && isWireId(run) && /^\d{1,15}$/.test(seq)) {
      return checked({ kind, id, run, seq: Number(seq), packet }, field);
    }
  }
  throw new MalformedEntryError(`'${field.slice(0, 100)}' is not a reply frame.`);
}

function checked(frame: Frame, field: string): Frame {
  if (!isWireId(frame.id)) {
    throw new MalformedEntryError(`'${field.slice(0, 100)}' is not a reply frame.`);
  }
  return frame;
}
