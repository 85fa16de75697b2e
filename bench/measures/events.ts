import type { Comparison } from '../results.js';
import { ableTo, chosenOf } from './able.js';
import { alternate } from './alternate.js';
import { manyRounds, OURS, type Measure } from './measure.js';
import { eventSampler } from './samples.js';

const EVENTS = 50_000;
const QUICK_EVENTS = 10_000;
/** For many rounds. */
const FEWER_EVENTS = 20_000;
const ONE_PATTERN = 'one pattern';
const MANY_PATTERNS = '200 patterns';

/** Events published and handled per second, each awaited by its publisher. */
export const events: Measure = {
  title: 'Events',
  counted: 'event',
  isQuick: true,
  async run(session, results) {
    const samplers = [eventSampler(ONE_PATTERN, session.options.isQuick ? QUICK_EVENTS : EVENTS)];
    const systems = ableTo('events', session, results, ONE_PATTERN);
    await alternate(
      session,
      results,
      systems.map((system) => ({ system, plan: { topics: 1 }, samplers })),
    );
  },
  comparisons: againstNestRedis(),
};

/** What it costs an event that its service subscribes to many others, of which none come. */
export const patterns: Measure = {
  title: 'Events of a service with many patterns',
  counted: 'event',
  isQuick: false,
  async run(session, results) {
    const systems = chosenOf(session, OURS, 'nest-redis');
    await alternate(
      session,
      results,
      systems.flatMap((system) => [
        { system, plan: { topics: 1 }, samplers: [eventSampler(ONE_PATTERN, EVENTS)] },
        { system, plan: { topics: 200 }, samplers: [eventSampler(MANY_PATTERNS, EVENTS)] },
      ]),
    );
  },
  comparisons: manyAgainstOne(),
};

/** The CPU time of events in so many rounds that small differences show. */
export const eventOverhead: Measure = {
  title: 'Events, small differences',
  counted: 'event',
  isQuick: false,
  async run(session, results) {
    const samplers = [eventSampler(ONE_PATTERN, FEWER_EVENTS)];
    const contestants = chosenOf(session, OURS, 'nest-redis').map((system) => ({
      system,
      plan: { topics: 1 },
      samplers,
    }));
    const many = chosenOf(session, OURS).map((system) => ({
      system,
      plan: { topics: 200 },
      samplers: [eventSampler(MANY_PATTERNS, FEWER_EVENTS)],
    }));
    await alternate(session, results, [...contestants, ...many], manyRounds(session));
  },
  comparisons: [...againstNestRedis(), ...manyAgainstOne()],
};

function againstNestRedis(): Comparison[] {
  return (['cpu', 'handled'] as const).map((figure) => ({
    figure,
    of: { system: OURS, setting: ONE_PATTERN },
    against: [{ system: 'nest-redis', setting: ONE_PATTERN }],
  }));
}

function manyAgainstOne(): Comparison[] {
  return ([OURS, 'nest-redis'] as const).map((system) => ({
    figure: 'cpu',
    of: { system, setting: MANY_PATTERNS },
    against: [{ system, setting: ONE_PATTERN }],
  }));
}
