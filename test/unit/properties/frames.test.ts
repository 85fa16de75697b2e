import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MalformedEntryError } from '../../../lib/errors.js';
import {
  deliveriesOf,
  parseFrame,
  runId,
  sequenceFrame,
  singleFrame,
  type Frame,
} from '../../../lib/protocol/frames.js';
import { isWireId } from '../../../lib/protocol/ids.js';
import { text, wireId } from './arbitraries.js';

const single = fc.constantFrom<'v' | 'e'>('v', 'e');
const several = fc.constantFrom<'n' | 'c'>('n', 'c');
const seq = fc.integer({ min: 0, max: 999_999_999_999_999 });

test('a frame of one value or error is read as it was written', () => {
  fc.assert(
    fc.property(single, wireId, fc.boolean(), (kind, id, packet) => {
      expect(parseFrame(singleFrame(kind, id, packet))).toEqual({ kind, id, run: '', seq: 0, packet });
    }),
  );
});

test('a frame of one of several values is read as it was written', () => {
  fc.assert(
    fc.property(several, wireId, wireId, seq, fc.boolean(), (kind, id, run, at, packet) => {
      expect(parseFrame(sequenceFrame(kind, id, run, at, packet))).toEqual({
        kind,
        id,
        run,
        seq: at,
        packet,
      });
    }),
  );
});

test('frames that say different things are different fields', () => {
  const frame = fc.oneof(
    fc.record({
      kind: single,
      id: wireId,
      run: fc.constant(''),
      seq: fc.constant(0),
      packet: fc.boolean(),
    }),
    fc.record({ kind: several, id: wireId, run: wireId, seq, packet: fc.boolean() }),
  );
  fc.assert(
    fc.property(frame, frame, (a, b) => {
      const same = JSON.stringify(a) === JSON.stringify(b);
      expect(fieldOf(a) === fieldOf(b)).toBe(same);
    }),
  );
});

test('the delivery count is found in a run', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0 }), wireId, (deliveries, instance) => {
      expect(deliveriesOf(runId(deliveries, instance))).toBe(deliveries);
    }),
  );
});

test('a run of any wire id has a delivery count that is a number', () => {
  fc.assert(
    fc.property(wireId, (run) => {
      expect(deliveriesOf(run)).not.toBeNaN();
    }),
  );
});

function fieldOf({ kind, id, run, seq: at, packet }: Frame): string {
  return kind === 'v' || kind === 'e'
    ? singleFrame(kind, id, packet)
    : sequenceFrame(kind, id, run, at, packet);
}

const part = fc.oneof(wireId, text, fc.constantFrom('', '0', '00', '7', '-1', '1e3', '9'.repeat(16)));
const almost = fc
  .tuple(fc.constantFrom(...'vnecVNECxKÉ', ''), fc.array(part, { maxLength: 4 }))
  .map(([letter, parts]) => letter + parts.join(':'));

const written = fc
  .tuple(
    fc.constantFrom('v', 'e', 'N', 'C'),
    wireId,
    wireId,
    fc.constantFrom('0', '007', '9'.repeat(16), '1a', ''),
  )
  .map(([letter, id, run, at]) => (/[ve]/.test(letter) ? letter + id : `${letter}${id}:${run}:${at}`));

test('any field is a frame of wire ids, and the one that would be written, or a MalformedEntryError', () => {
  const seen = { frames: 0, malformed: 0 };
  fc.assert(
    fc.property(fc.oneof(almost, written, text), (field) => {
      let frame: Frame;
      try {
        frame = parseFrame(field);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedEntryError);
        expect((error as Error).message.length).toBeLessThan(200);
        seen.malformed++;
        return;
      }
      seen.frames++;
      expect(isWireId(frame.id)).toBe(true);
      expect(frame.run === '' || isWireId(frame.run)).toBe(true);
      expect(Number.isSafeInteger(frame.seq) && frame.seq >= 0).toBe(true);
      // Leading zeros of a number are the one thing that is not kept.
      expect(fieldOf(frame)).toBe(field.replace(/:0+(\d+)$/, ':$1'));
    }),
    { numRuns: 1000 },
  );
  expect(Math.min(seen.frames, seen.malformed)).toBeGreaterThan(50);
});
