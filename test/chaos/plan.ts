import { FAULTS, type FaultName } from './faults.js';
import { Random } from './random.js';

/** Faults that take turns: there is one of them at a time. */
export interface Lane {
  faults: readonly FaultName[];
  /** The pause before each, in milliseconds, at least and at most. */
  pause: readonly [number, number];
  /** Whether the members are hit in turn, rather than at random. */
  inTurn?: boolean;
}

/** A fault to come. */
export interface Step {
  /** Milliseconds to wait before it. */
  pause: number;
  fault: FaultName;
  /** Chooses who is hit: a member by `target` modulo their number, and likewise a stream or a connection. */
  target: number;
  /** Milliseconds that it lasts. */
  lasts: number;
}

/** The faults of a lane, the same for the same seed: each at least once, in a shuffled order, round after round. */
export function planLane(lane: Lane, seed: number, lease: number, durationMs: number): Step[] {
  const random = new Random(seed);
  const steps: Step[] = [];
  for (let at = 0; at < durationMs;) {
    for (const fault of shuffled(lane.faults, random)) {
      const [min, max] = FAULTS[fault].lasts(lease);
      const step = {
        pause: random.between(...lane.pause),
        fault,
        target: lane.inTurn ? steps.length : random.between(0, 1_000),
        lasts: random.between(Math.round(min), Math.round(max)),
      };
      steps.push(step);
      at += step.pause + step.lasts;
    }
  }
  return steps;
}

function shuffled<T>(list: readonly T[], random: Random): T[] {
  const rest = [...list];
  return list.map(() => rest.splice(random.between(0, rest.length - 1), 1)[0]!);
}
