import { events } from './events.js';
import type { Measure } from './measure.js';
import { requests } from './requests.js';

const catalogue = {
  requests,
  events,
} satisfies Record<string, Measure>;

export type MeasureName = keyof typeof catalogue;

/** The measures, in the order of the report. */
export const MEASURES: Readonly<Record<MeasureName, Measure>> = catalogue;
export const MEASURE_NAMES = Object.keys(MEASURES) as readonly MeasureName[];
