import { SYSTEMS } from '../systems/catalogue.js';
import { alternate } from './alternate.js';
import { OURS, type Measure } from './measure.js';
import { eventSampler } from './samples.js';

const EVENTS = 50_000;
const QUICK_EVENTS = 10_000;
const SETTING = 'one pattern';

/** Events published and handled per second, each awaited by its publisher. */
export const events: Measure = {
  title: 'Events',
  counted: 'event',
  isQuick: true,
  async run(session, results) {
    const { isQuick, systems } = session.options;
    const able = systems.filter((system) => {
      const reason = SYSTEMS[system].lacks?.events;
      if (reason !== undefined) {
        results.miss({ system, setting: SETTING }, reason);
      }
      return reason === undefined;
    });
    const samplers = [eventSampler(SETTING, isQuick ? QUICK_EVENTS : EVENTS)];
    await alternate(
      session,
      results,
      able.map((system) => ({ system, plan: { topics: 1 }, samplers })),
    );
  },
  comparisons: (['cpu', 'handled'] as const).map((figure) => ({
    figure,
    of: { system: OURS, setting: SETTING },
    against: [{ system: 'nest-redis', setting: SETTING }],
  })),
};
