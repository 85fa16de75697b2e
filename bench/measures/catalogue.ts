import { neighbours, overhead, switches, tuning } from './circumstances.js';
import { eventOverhead, events, patterns } from './events.js';
import { idle } from './idle.js';
import type { Measure } from './measure.js';
import { memory } from './memory.js';
import { payloads } from './payloads.js';
import { persistence } from './persistence.js';
import { requests } from './requests.js';
import { scale } from './scale.js';
import { shards } from './shards.js';
import { sizes } from './sizes.js';
import { values } from './values.js';

const catalogue = {
  requests,
  events,
  idle,
  memory,
  persistence,
  payloads,
  values,
  scale,
  shards,
  sizes,
  patterns,
  neighbours,
  switches,
  tuning,
  overhead,
  'event-overhead': eventOverhead,
} satisfies Record<string, Measure>;

export type MeasureName = keyof typeof catalogue;

/** The measures, in the order of the report. */
export const MEASURES: Readonly<Record<MeasureName, Measure>> = catalogue;
export const MEASURE_NAMES = Object.keys(MEASURES) as readonly MeasureName[];
