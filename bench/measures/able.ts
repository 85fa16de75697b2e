import type { Results } from '../results.js';
import type { Session } from '../session.js';
import { SYSTEMS, type SystemInfo, type SystemName } from '../systems/catalogue.js';

/** Those of the systems that can do what a measure asks for; of the others the results say why not. */
export function ableTo(
  need: keyof NonNullable<SystemInfo['lacks']>,
  session: Session,
  results: Results,
  setting: string,
): readonly SystemName[] {
  return session.options.systems.filter((system) => {
    const reason = SYSTEMS[system].lacks?.[need];
    if (reason !== undefined) {
      results.miss({ system, setting }, reason);
    }
    return reason === undefined;
  });
}

/** Those of the systems that are measured and among these. */
export function chosenOf(session: Session, ...systems: readonly SystemName[]): readonly SystemName[] {
  return systems.filter((system) => session.options.systems.includes(system));
}
